"""Where the links of a robot are, from the positions of its joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.robot.description import SINGLE_AXIS, Joint, RobotModel


def link_poses(model: RobotModel, positions: Mapping[str, float]) -> dict[str, np.ndarray]:
    """root_from_link [4, 4] of every link whose joints have a position: radians, or metres of prismatic joints.

    Links beyond a joint that has none are left out (`joints_without_position` names them); joints that mimic another
    follow it.
    """
    known = [joint for joint in model.joints if not joint.is_fixed and _position(joint, positions) is not None]
    motions = dict(zip((joint.name for joint in known), _motions(known, positions), strict=True))
    poses = {model.root: np.eye(4)}
    for joint in model.joints:
        if joint.parent not in poses or not (joint.is_fixed or joint.name in motions):
            continue
        pose = poses[joint.parent] @ joint.parent_from_joint
        poses[joint.child] = pose if joint.is_fixed else pose @ motions[joint.name]
    return poses


def joints_without_position(model: RobotModel, known: set[str]) -> list[str]:
    """Names of the joints that none of the `known` ones moves."""
    return [
        joint.name
        for joint in model.joints
        if not joint.is_fixed and (joint.kind not in SINGLE_AXIS or _driver(joint) not in known)
    ]


def rigid_bodies(model: RobotModel) -> dict[str, tuple[str, np.ndarray]]:
    """By link: the link that leads its rigid body, and leader_from_link [4, 4]. Fixed joints never move."""
    bodies = {model.root: (model.root, np.eye(4))}
    for joint in model.joints:
        leader, pose = bodies[joint.parent]
        fixed = (leader, pose @ joint.parent_from_joint)
        bodies[joint.child] = fixed if joint.is_fixed else (joint.child, np.eye(4))
    return bodies


def _driver(joint: Joint) -> str:
    return joint.mimic.joint if joint.mimic else joint.name


def _position(joint: Joint, positions: Mapping[str, float]) -> float | None:
    position = positions.get(_driver(joint))
    if position is None or joint.kind not in SINGLE_AXIS:
        return None
    return position if joint.mimic is None else joint.mimic.multiplier * position + joint.mimic.offset


def _motions(joints: Sequence[Joint], positions: Mapping[str, float]) -> np.ndarray:
    """joint_from_child [J, 4, 4] of joints that have a position."""
    along = np.array([(_position(joint, positions) or 0.0) * joint.axis for joint in joints]).reshape(-1, 3)
    slides = np.array([joint.kind == "prismatic" for joint in joints], bool)
    motions = np.tile(np.eye(4), (len(joints), 1, 1))
    motions[slides, :3, 3] = along[slides]
    if not slides.all():
        motions[~slides, :3, :3] = Rotation.from_rotvec(along[~slides]).as_matrix()
    return motions
