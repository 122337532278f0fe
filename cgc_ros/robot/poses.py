"""Where the links of a robot are at a stamp: by a tree of transforms, by the positions of its joints, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np

from cgc_ros.robot.description import RobotModel
from cgc_ros.robot.kinematics import link_poses, rigid_bodies
from cgc_ros.transform_buffer import TransformError

#: target_from_source [4, 4] at a stamp, of two frames; raises TransformError.
Lookup = Callable[[str, str, int], np.ndarray]


#: How far back a link is looked for, to know how it moves: covers transforms that are 30 ms late and half as much.
MOTION_NS = 45_000_000


class RobotPoses(Protocol):
    """Who knows where the robot's links are."""

    def world_from_link(self, link: str, stamp_ns: int) -> np.ndarray | None:
        """[4, 4], or None where it is not known."""
        ...


class LinkPoses(NamedTuple):
    """All links at one stamp."""

    poses: dict[str, np.ndarray]  # frame_from_link [4, 4] by link
    lost: dict[str, TransformError]  # why the others have none, by the link that leads their rigid body


class TransformTree:
    """Links by transforms between frames of the links' names, as robot_state_publisher sends them.

    A rigid body, links on fixed joints, needs one transform only.
    """

    def __init__(self, model: RobotModel, lookup: Lookup):
        self._root, self._lookup = model.root, lookup
        bodies = rigid_bodies(model)
        self._members: dict[str, list[tuple[str, np.ndarray]]] = {}
        for link, (leader, pose) in bodies.items():
            self._members.setdefault(leader, []).append((link, pose))
        self._parents = {joint.child: joint.parent for joint in model.joints if joint.child in self._members}

    def at(self, frame: str, stamp_ns: int) -> LinkPoses:
        """frame_from_link at a stamp."""
        poses: dict[str, np.ndarray] = {}
        lost: dict[str, TransformError] = {}
        for leader in self._members:
            try:
                self.place(poses, leader, self._pose(frame, leader, stamp_ns, poses))
            except TransformError as error:
                lost[leader] = error
        return LinkPoses(poses, lost)

    @property
    def leaders(self) -> set[str]:
        """The links that lead a rigid body each."""
        return set(self._members)

    def place(self, poses: dict[str, np.ndarray], leader: str, pose: np.ndarray | None) -> None:
        """Add a rigid body's links to `poses`, by the pose of the link that leads it; None: they have none."""
        for link, leader_from_link in self._members[leader] if pose is not None else ():
            poses[link] = pose @ leader_from_link

    def _pose(self, frame: str, leader: str, stamp_ns: int, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """By the link it hangs on where that is known: one edge of the tree in place of a chain. By another link of the
        body where the leader itself is in no tree.
        """
        parent = self._parents.get(leader)
        try:
            if parent is not None and parent in found:
                return found[parent] @ self._lookup(parent, leader, stamp_ns)
            return self._lookup(frame, leader, stamp_ns)
        except TransformError as error:
            for link, leader_from_link in self._members[leader]:
                if link != leader and error.reason == "unknown_frame":
                    with suppress(TransformError):
                        return self._lookup(frame, link, stamp_ns) @ np.linalg.inv(leader_from_link)
            raise


def posed_links(
    model: RobotModel, frame_from_root: np.ndarray, positions: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """frame_from_link [4, 4] by link, of those that the joints' positions reach."""
    return {link: frame_from_root @ pose for link, pose in link_poses(model, positions).items()}
