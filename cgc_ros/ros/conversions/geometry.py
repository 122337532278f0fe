"""[4, 4] matrices as geometry_msgs poses and transforms (back: messages/geometry.py)."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from scipy.spatial.transform import Rotation


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
