"""Poses and transforms to [4, 4] matrices."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import FrameError

#: A quaternion's norm may be off by this much, as in tf2.
NORM_TOLERANCE = 1e-2
#: Farther from a frame's origin (metres) nothing on Earth is, in any of its coordinates.
MAX_DISTANCE = 1e8


def matrix_from_pose(pose, what: str = "pose") -> np.ndarray:
    """geometry_msgs/Pose: parent_from_child, [4, 4] float64.

    FrameError (bad_pose) where it is not finite or its quaternion not unit.
    """
    return _matrix(pose.position, pose.orientation, what)


def matrix_from_transform(transform, what: str = "transform") -> np.ndarray:
    """geometry_msgs/Transform: parent_from_child, [4, 4] float64; errors as `matrix_from_pose`."""
    return _matrix(transform.translation, transform.rotation, what)


def pose_of(message):
    """The geometry_msgs/Pose in a PoseStamped, PoseWithCovarianceStamped or Odometry."""
    return message.pose if hasattr(message.pose, "position") else message.pose.pose


def _matrix(position, orientation, what: str) -> np.ndarray:
    quaternion = (orientation.x, orientation.y, orientation.z, orientation.w)
    translation = (position.x, position.y, position.z)
    if not all(map(math.isfinite, (*quaternion, *translation))):
        raise FrameError(
            "bad_pose", f"{what} is not finite: position {translation}, quaternion {quaternion}; check the localisation"
        )
    if max(map(abs, translation)) > MAX_DISTANCE:
        raise FrameError(
            "bad_pose", f"{what} is {max(map(abs, translation)):.3g} m from its frame's origin: check the localisation"
        )
    norm = math.sqrt(sum(value * value for value in quaternion))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise FrameError(
            "bad_pose",
            f"{what} has a quaternion of length {norm:.4g}, it must be 1: normalise it where it is published",
        )
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    matrix[:3, 3] = translation
    return matrix
