"""sensor_msgs CameraInfo to Intrinsics and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sensor_msgs.msg import CameraInfo

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.undistortion import check_distortion


def intrinsics_from_camera_info(info: CameraInfo, rectified: bool = False) -> Intrinsics:
    """Intrinsics of the image this CameraInfo came with, binning and region of interest applied.

    `rectified`: the image is image_proc's output, described by P without distortion; otherwise K and D describe it.
    The camera_info's frame is taken as the camera's own (a baseline in P is not applied).
    Raises FrameError: bad_intrinsics, bad_distortion, unknown_distortion.
    """
    k = np.asarray(info.p if rectified else info.k, dtype=np.float64)
    fx, fy, cx, cy = (k[0], k[5], k[2], k[6]) if rectified else (k[0], k[4], k[2], k[5])
    source = "P" if rectified else "K"
    if not np.isfinite(k).all() or fx <= 0 or fy <= 0:
        raise FrameError(
            "bad_intrinsics",
            f"camera_info's {source} has focal lengths {fx:g}, {fy:g}: an uncalibrated camera; calibrate it "
            "(camera_calibration) or load its calibration in the driver",
        )
    width, height = _delivered_size(info)
    bin_x, bin_y = max(1, info.binning_x), max(1, info.binning_y)
    # Pixel edges stay on pixel edges: the first pixel of a binned image has its centre between the pixels it merges.
    cx, cy = (cx - info.roi.x_offset + 0.5) / bin_x - 0.5, (cy - info.roi.y_offset + 0.5) / bin_y - 0.5
    intrinsics = Intrinsics(width, height, float(fx / bin_x), float(fy / bin_y), float(cx), float(cy))
    return intrinsics if rectified else _with_distortion(intrinsics, info)


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


def _delivered_size(info: CameraInfo) -> tuple[int, int]:
    width = (info.roi.width or info.width) // max(1, info.binning_x)
    height = (info.roi.height or info.height) // max(1, info.binning_y)
    if width <= 0 or height <= 0:
        raise FrameError(
            "bad_intrinsics",
            f"camera_info says the image is {width}x{height} after binning: set width, height and binning in the "
            "calibration",
        )
    return width, height


def _with_distortion(intrinsics: Intrinsics, info: CameraInfo) -> Intrinsics:
    coefficients = tuple(float(value) for value in info.d)
    distorted = replace(intrinsics, distortion_model=info.distortion_model[:40], distortion=coefficients)
    # Drivers of pinhole cameras name any model beside coefficients of zero.
    is_pinhole = not any(coefficients) and info.distortion_model not in ("equidistant", "fisheye")
    model = "none" if is_pinhole else check_distortion(distorted)
    return intrinsics if model == "none" else replace(distorted, distortion_model=model)
