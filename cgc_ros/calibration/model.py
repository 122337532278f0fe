"""What a calibration and given poses foretell of matches, and how far off it is: errors in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.calibration.matches import Matches
from cgc_ros.calibration.views import PosedViews, Trajectory

#: Places of the values: logarithm of a focal factor, shift of the principal point in pixels, seconds to add to images'
#: stamps, logarithm of a depth factor, rotation vector of the camera on what is tracked. All zero: as given.
FOCAL, CENTRE_X, CENTRE_Y, OFFSET, DEPTH = range(5)
CENTRE = slice(1, 3)
MOUNT = slice(5, 8)
COUNT = 8
_DIFFERENCES = np.array([1e-5, 1e-3, 1e-3, 1e-5, 1e-5, 1e-6, 1e-6, 1e-6])
_NEAREST = 1e-3  # of the median depth: nothing is seen from nearer


@dataclass(frozen=True)
class Observations:
    """Matches, and the depth of their first points where it is known. Arrays over M matches."""

    matches: Matches
    depths: np.ndarray  # [M] along z in the first view, the poses' unit if its scale is right; 0 unknown


class Errors(NamedTuple):
    """Of M matches, and of the D among them whose depth is known; pixels."""

    across: np.ndarray  # [M] Sampson's epipolar error (Hartley and Zisserman 2004, section 11.4.3)
    along: np.ndarray  # [D] from where the depth puts the point to where it is seen, along its epipolar line


class CalibrationModel:
    """Without a `trajectory` no time offset moves the poses."""

    def __init__(self, views: PosedViews, observations: Observations, trajectory: Trajectory | None = None):
        self.views, self.matches, self.trajectory = views, observations.matches, trajectory
        self.ranged = np.flatnonzero(observations.depths > 0)
        self._depths = observations.depths[self.ranged]
        self._nearest = _NEAREST * float(np.median(self._depths)) if len(self._depths) else 0.0
        self._focals, self._centres = views.focals(), views.centres()

    @property
    def has_depth(self) -> bool:
        return len(self.ranged) > 0

    def errors(self, values: np.ndarray) -> Errors:
        """At values [8]."""
        matches, kept = self.matches, self.ranged
        poses = self.poses(values)
        first, second = poses[matches.first], poses[matches.second]
        rays = self._rays(values, matches.first, matches.points_first)
        partners = self._rays(values, matches.second, matches.points_second)
        to_second = second[:, :3, :3].transpose(0, 2, 1)
        shift = np.einsum("mij,mj->mi", to_second, first[:, :3, 3] - second[:, :3, 3])
        turned = np.einsum("mij,mj->mi", to_second, np.einsum("mij,mj->mi", first[:, :3, :3], rays))
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        direction = np.where(length > 1e-9, shift / np.maximum(length, 1e-9), (1.0, 0.0, 0.0))
        line = np.cross(direction, turned)  # E x
        back = np.einsum("mji,mj->mi", to_second, np.cross(partners, direction))
        back = np.einsum("mji,mj->mi", first[:, :3, :3], back)  # E^T x'
        slope = (line[:, :2] ** 2).sum(axis=1) + (back[:, :2] ** 2).sum(axis=1)
        pixels = self._focals[matches.second].mean(axis=1) * np.exp(values[FOCAL])
        across = pixels * np.einsum("mi,mi->m", line, partners) / np.sqrt(np.maximum(slope, 1e-18))
        if not self.has_depth:
            return Errors(across, np.zeros(0))
        points = (self._depths * np.exp(values[DEPTH]))[:, None] * turned[kept] + shift[kept]
        expected = points[:, :2] / np.maximum(points[:, 2:], self._nearest)
        along = np.stack([-line[kept, 1], line[kept, 0]], axis=1)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
        return Errors(across, pixels[kept] * ((expected - partners[kept, :2]) * along).sum(axis=1))

    def jacobians(self, values: np.ndarray, errors: Errors, free: np.ndarray) -> Errors:
        """By the values that are `free` ([8] bool), [M, 8] and [D, 8], by differences; zero by the others."""
        across, along = (np.zeros((len(part), COUNT)) for part in errors)
        for index in np.flatnonzero(free):
            moved = values.copy()
            moved[index] += _DIFFERENCES[index]
            changed = self.errors(moved)
            across[:, index] = (changed.across - errors.across) / _DIFFERENCES[index]
            along[:, index] = (changed.along - errors.along) / _DIFFERENCES[index]
        return Errors(across, along)

    def poses(self, values: np.ndarray) -> np.ndarray:
        """[V, 4, 4] at the stamps and the time offset, the camera turned on its mount."""
        poses = self.views.world_from_camera
        if self.trajectory is not None and values[OFFSET] != 0.0:
            poses = self.trajectory.at(self.views.stamps_s + values[OFFSET])
        if values[MOUNT].any():
            poses = poses.copy()
            poses[:, :3, :3] = poses[:, :3, :3] @ Rotation.from_rotvec(values[MOUNT]).as_matrix()
        return poses

    def _rays(self, values: np.ndarray, view: np.ndarray, points: np.ndarray) -> np.ndarray:
        focal = self._focals[view] * np.exp(values[FOCAL])
        flat = (points - self._centres[view] - values[CENTRE]) / focal
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
