"""A recording's robot over time, as a bag has it: joint states and the transforms of its links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from cgc_ros.robot.recorded import RecordedRobot


class RobotSample(NamedTuple):
    """The robot at one stamp of the recording."""

    stamp_ns: int
    positions: dict[str, float]  # of joints, empty where the recording has transforms alone
    transforms: list[tuple[str, str, np.ndarray]]  # parent, child, parent_from_child [4, 4]


class RobotTrack:
    """Samples where joint states were recorded, and at the images' stamps, in order of time."""

    def __init__(self, robot: RecordedRobot, stamps_ns: list[int], map_frame: str):
        self._robot, self._map_frame = robot, map_frame
        told = [] if robot.joints is None else robot.joints.stamps_ns
        self._stamps = sorted({*told, *stamps_ns})
        self._next = 0

    def until(self, stamp_ns: int) -> Iterator[RobotSample]:
        """Those up to a stamp that were not given yet."""
        while self._next < len(self._stamps) and self._stamps[self._next] <= stamp_ns:
            yield self._sample(self._stamps[self._next])
            self._next += 1

    def _sample(self, stamp_ns: int) -> RobotSample:
        model, joints = self._robot.model, self._robot.joints
        poses = self._robot.links_at(stamp_ns)
        edges = [(self._map_frame, model.root, poses[model.root])] if model.root in poses else []
        edges += [
            (joint.parent, joint.child, np.linalg.inv(poses[joint.parent]) @ poses[joint.child])
            for joint in model.joints
            if joint.parent in poses and joint.child in poses
        ]
        return RobotSample(stamp_ns, {} if joints is None else joints.at(stamp_ns), edges)
