"""Poses by stamp, from files that list them apart from the images."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from cgc_ros.sequences.base import SequenceError
from cgc_ros.sequences.poses import CheckedPose, check_pose, quaternion_pose
from cgc_ros.sequences.text_files import numbers, read_rows

_MAX_GAP_S = 0.1  # between poses that are interpolated


def nearest(stamps: list[float], stamp: float, tolerance: float) -> int | None:
    """Index of the nearest of sorted stamps, within a tolerance."""
    after = bisect_left(stamps, stamp)
    near = [index for index in (after, after - 1) if 0 <= index < len(stamps)]
    best = min(near, key=lambda index: abs(stamps[index] - stamp), default=None)
    return best if best is not None and abs(stamps[best] - stamp) <= tolerance else None


class Trajectory:
    """Poses [4, 4] over stamps in seconds. Interpolated between neighbours no further apart than 0.1 s."""

    def __init__(self, stamps: list[float], poses: list[np.ndarray]):
        order = sorted(range(len(stamps)), key=lambda index: stamps[index])
        self.stamps, self.poses = [stamps[index] for index in order], [poses[index] for index in order]

    def at(self, stamp: float, tolerance: float) -> np.ndarray | None:
        """The pose at a stamp, else that of the nearest within `tolerance` seconds, else None."""
        after = bisect_left(self.stamps, stamp)
        if 0 < after < len(self.stamps) and self.stamps[after] != stamp:
            before, gap = after - 1, self.stamps[after] - self.stamps[after - 1]
            first, second = check_pose(self.poses[before]), check_pose(self.poses[after])
            if gap <= _MAX_GAP_S and isinstance(first, CheckedPose) and isinstance(second, CheckedPose):
                share = (stamp - self.stamps[before]) / gap
                return _between(first.world_from_camera, second.world_from_camera, share)
        index = nearest(self.stamps, stamp, tolerance)
        return None if index is None else self.poses[index]


def read_tum_poses(file: Path) -> Trajectory:
    """Lines of `stamp tx ty tz qx qy qz qw`. A line that holds anything else is one pose less; SequenceError where all
    do.
    """
    stamps, poses, broken = [], [], 0
    for number, words in read_rows(file):
        values = numbers(words)
        if values is None or len(values) < 8 or not np.isfinite(values[0]):
            broken = broken or number
            continue
        stamps.append(values[0])
        poses.append(quaternion_pose(values[1:4], values[4:8]))
    if not stamps:
        where = f", line {broken}" if broken else ""
        raise SequenceError("bad_poses", f"{file}{where}: expected lines of stamp tx ty tz qx qy qz qw")
    return Trajectory(stamps, poses)


def _between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    pose = np.eye(4)
    turn = Slerp([0.0, 1.0], Rotation.from_matrix([first[:3, :3], second[:3, :3]]))
    pose[:3, :3] = turn(share).as_matrix()
    pose[:3, 3] = (1.0 - share) * first[:3, 3] + share * second[:3, 3]
    return pose
