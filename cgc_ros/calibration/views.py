"""Posed views of one camera, which of them to match, and their poses at other times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from cgc_ros.frame import Intrinsics

_STRETCH = 8  # chosen frames of one stretch of a long recording
_STEP_DEG = 4.0  # that chosen frames turn by, as far as the recording is long enough
_WIDEST_DEG = 40.0  # between two views that can be matched
_GAPS = (1, 2, 4, 7)  # between partners, in chosen frames
_NEAREST = 2  # partners by direction of view, for photos that come in no order


@dataclass(frozen=True)
class PosedViews:
    """Views, as they are given. Arrays over V views."""

    intrinsics: tuple[Intrinsics, ...]  # of pinhole cameras
    world_from_camera: np.ndarray  # [V, 4, 4]
    stamps_s: np.ndarray  # [V] float64, of the images

    def focals(self) -> np.ndarray:
        """fx, fy, [V, 2] pixels."""
        return np.array([(each.fx, each.fy) for each in self.intrinsics])

    def centres(self) -> np.ndarray:
        """cx, cy, [V, 2] pixels."""
        return np.array([(each.cx, each.cy) for each in self.intrinsics])


def chosen_frames(poses: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` (8 or more) of the frames with poses [N, 4, 4]: all, or stretches of neighbours in
    which the camera turns from each to the next.
    """
    count = len(poses)
    if count <= limit:
        return np.arange(count)
    turn = float(np.median(_turns_deg(poses[:-1], poses[1:])))
    stride = int(np.clip(np.ceil(_STEP_DEG / max(turn, 1e-6)), 1, max(1, count // (2 * _STRETCH))))
    starts = np.linspace(0, count - 1 - stride * (_STRETCH - 1), limit // _STRETCH).astype(int)
    return np.unique(starts[:, None] + stride * np.arange(_STRETCH))


def partner_pairs(poses: np.ndarray) -> np.ndarray:
    """Pairs [P, 2] (first < second) of views with poses [V, 4, 4] to match: some steps apart, and those that look the
    same way.
    """
    count = len(poses)
    axes = poses[:, :3, 2]
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    turns = np.array([_turns_deg(np.broadcast_to(pose, poses.shape), poses) for pose in poses])
    pairs = {(index, index + gap) for gap in _GAPS for index in range(count - gap)}
    np.fill_diagonal(angles, np.inf)
    order = np.argsort(angles, axis=1)[:, : min(_NEAREST, count - 1)]
    pairs |= {(min(one, int(other)), max(one, int(other))) for one in range(count) for other in order[one]}
    kept = [(one, other) for one, other in sorted(pairs) if turns[one, other] < _WIDEST_DEG]
    return np.array(kept, dtype=int).reshape(-1, 2)


class Trajectory:
    """Poses between and beside those given: cubic splines of positions and rotations."""

    def __init__(self, stamps_s: np.ndarray, poses: np.ndarray):
        """`stamps_s` [N] float64, `poses` [N, 4, 4]; of equal stamps the first counts."""
        stamps, first = np.unique(stamps_s, return_index=True)
        self._start = stamps[0]
        self.times = stamps - self._start
        self.poses = poses[first]
        self._rotations = RotationSpline(self.times, Rotation.from_matrix(self.poses[:, :3, :3]))
        self._positions = CubicSpline(self.times, self.poses[:, :3, 3])

    def at(self, stamps_s: np.ndarray) -> np.ndarray:
        """Poses [N, 4, 4] at any stamps [N]; beyond its ends the splines go on."""
        times = stamps_s - self._start
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = self._rotations(times).as_matrix()
        poses[:, :3, 3] = self._positions(times)
        return poses

    def roughness_deg(self) -> tuple[float, float]:
        """How far, in the median, a pose is turned from what its neighbours foretell, and from its neighbours, degrees.

        Where the first is no smaller than the second, poses between the given ones are anybody's guess.
        """
        before, here, after = (Rotation.from_matrix(self.poses[cut, :3, :3]) for cut in _TRIPLES)
        share = (self.times[1:-1] - self.times[:-2]) / (self.times[2:] - self.times[:-2])
        middle = before * Rotation.from_rotvec(share[:, None] * (before.inv() * after).as_rotvec())
        missed = np.degrees((middle.inv() * here).magnitude())
        stepped = np.degrees((before.inv() * here).magnitude())
        return float(np.median(missed)), float(np.median(stepped))


_TRIPLES = (slice(None, -2), slice(1, -1), slice(2, None))


def _turns_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles [N] between the rotations of poses [N, 4, 4]."""
    traces = np.einsum("nji,nji->n", first[:, :3, :3], second[:, :3, :3])
    return np.degrees(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0)))
