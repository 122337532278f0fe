"""Intrinsics as sensor_msgs CameraInfo (back: messages/camera_info.py)."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo

from cgc_ros.frame import Intrinsics


def camera_info_from_intrinsics(intrinsics: Intrinsics, header) -> CameraInfo:
    """The CameraInfo of an unbinned image; P is K (the image is its own rectification where it has no distortion)."""
    info = CameraInfo(header=header, width=intrinsics.width, height=intrinsics.height)
    info.distortion_model = "plumb_bob" if intrinsics.distortion_model == "none" else intrinsics.distortion_model
    info.d = list(map(float, intrinsics.distortion)) or [0.0] * 5
    matrix = intrinsics.matrix()
    info.k = matrix.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist()
    return info
