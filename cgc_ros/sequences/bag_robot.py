"""The robot of a bag: its description, joint states and transforms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgc_ros.messages.stamps import stamp_of
from cgc_ros.robot.description import read_urdf
from cgc_ros.robot.joints import JointTable, joint_table
from cgc_ros.robot.layout import FOLDER
from cgc_ros.robot.poses import TransformTree
from cgc_ros.sequences.bag_poses import PoseSource

if TYPE_CHECKING:
    from cgc_ros.robot.recorded import RecordedRobot


class JointStates:
    """Collects sensor_msgs/JointState while a bag is read. Publishers of some joints each (arm, gripper) are joined."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}

    def add(self, message) -> None:
        """One message; names without a position are left out."""
        row = self._rows.setdefault(stamp_of(message.header.stamp), {})
        row |= {str(name): float(value) for name, value in zip(message.name, message.position, strict=False)}

    def table(self) -> JointTable | None:
        """All of them by stamp; None where there are none."""
        names = tuple(dict.fromkeys(name for row in self._rows.values() for name in row))
        if not names:
            return None
        return joint_table(
            names, {stamp: [row.get(name, np.nan) for name in names] for stamp, row in self._rows.items()}
        )


def robot_source(path: Path, urdf: str, joints: JointStates, poses: PoseSource, stamps_ns: list[int]):
    """Reads the robot of the bag at `path` for a padding. Its meshes lie where ROS is installed, or below robot/ in or
    beside the bag.
    """
    return partial(_read, path, urdf, joints, poses, stamps_ns)


def _read(
    path: Path, urdf: str, joints: JointStates, poses: PoseSource, stamps_ns: list[int], padding: float
) -> RecordedRobot:
    from cgc_ros.robot.mask import RobotMask  # with the rasteriser: slow to import
    from cgc_ros.robot.meshes import load_shapes
    from cgc_ros.robot.recorded import transformed_robot

    model = read_urdf(urdf)
    mask = RobotMask(load_shapes(model, [path / FOLDER, path.parent / FOLDER]), padding)
    tree = TransformTree(model, poses.lookup)
    return transformed_robot(model, mask, tree, poses.map_frame, joints.table(), stamps_ns)
