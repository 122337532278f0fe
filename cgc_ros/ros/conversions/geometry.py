"""geometry_msgs poses and transforms to [4, 4] matrices and back."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from scipy.spatial.transform import Rotation

from cgc_ros.frame import FrameError

#: A quaternion's norm may be off by this much, as in tf2.
NORM_TOLERANCE = 1e-2
#: Farther from a frame's origin (metres) a map in float32 resolves no millimetres: earth-fixed coordinates need a local
#: frame.
MAX_DISTANCE = 1e5


def matrix_from_pose(pose: Pose, what: str = "pose") -> np.ndarray:
    """parent_from_child, [4, 4] float64. FrameError (bad_pose) where it is not finite or its quaternion not unit."""
    return _matrix(pose.position, pose.orientation, what)


def matrix_from_transform(transform: Transform, what: str = "transform") -> np.ndarray:
    """parent_from_child, [4, 4] float64; errors as `matrix_from_pose`."""
    return _matrix(transform.translation, transform.rotation, what)


def pose_from_matrix(parent_from_child: np.ndarray) -> Pose:
    """The Pose of a rigid [4, 4] matrix."""
    return pose_from_parts(parent_from_child[:3, 3], parent_from_child[:3, :3])


def pose_from_parts(position: np.ndarray, rotation: np.ndarray) -> Pose:
    """The Pose of a position [3] and a rotation matrix [3, 3]."""
    x, y, z = (float(value) for value in position)
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion_from_rotation(rotation))


def transform_from_matrix(parent_from_child: np.ndarray) -> Transform:
    """The Transform of a rigid [4, 4] matrix."""
    x, y, z = parent_from_child[:3, 3].tolist()
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion_from_rotation(parent_from_child[:3, :3]))


def quaternion_from_rotation(rotation: np.ndarray) -> Quaternion:
    """The Quaternion of a rotation matrix [3, 3]."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def _matrix(position, orientation, what: str) -> np.ndarray:
    quaternion = (orientation.x, orientation.y, orientation.z, orientation.w)
    translation = (position.x, position.y, position.z)
    if not all(map(math.isfinite, (*quaternion, *translation))):
        raise FrameError(
            "bad_pose", f"{what} is not finite: position {translation}, quaternion {quaternion}; check the localisation"
        )
    if max(map(abs, translation)) > MAX_DISTANCE:
        raise FrameError(
            "bad_pose", f"{what} is {max(map(abs, translation)):.3g} m from its frame's origin: use a local map frame"
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
