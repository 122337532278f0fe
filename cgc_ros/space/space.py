"""Occupied, free and unknown voxels, whose the occupied ones are, and distances between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TypeVar

import edt
import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.rendering.kernels import num_threads
from cgc_ros.space.grid import VoxelGrid

Key = TypeVar("Key")
Value = TypeVar("Value")

UNKNOWN, FREE, OCCUPIED = 0, 1, 2
_KEPT = 4  # of what was made for the last ignored objects
#: The voxels around one, itself first, then by distance.
NEIGHBOURS = np.array(sorted(np.ndindex(3, 3, 3), key=lambda each: sum((axis - 1) ** 2 for axis in each))) - 1


@dataclass(frozen=True)
class NearestSurface:
    """What is next to P points."""

    distance: np.ndarray  # [P] float32 metres, negative inside; NaN outside of the grid and where nothing is occupied
    object_id: np.ndarray  # [P] int32 of the nearest occupied voxel, -1 where it is no object's or there is none
    state: np.ndarray  # [P] uint8, UNKNOWN, FREE or OCCUPIED; UNKNOWN outside of the grid


@dataclass(frozen=True)
class Space:
    """A grid of what is known. Nothing in it changes; any thread may ask."""

    grid: VoxelGrid
    state: np.ndarray  # [X, Y, Z] uint8: UNKNOWN, FREE or OCCUPIED
    object_id: np.ndarray  # [X, Y, Z] int32, -1 where no object is
    _distances: dict[tuple, np.ndarray] = dataclass_field(default_factory=dict, repr=False, compare=False)
    _trees: dict[frozenset[int], tuple[cKDTree, np.ndarray]] = dataclass_field(
        default_factory=dict, repr=False, compare=False
    )

    def state_without(self, ignored: Collection[int]) -> np.ndarray:
        """The states as if objects were not there, [X, Y, Z]: what they occupied is unknown, never free: nobody has
        seen it empty.
        """
        if not len(ignored):
            return self.state
        gone = np.isin(self.object_id, np.fromiter(ignored, np.int32)) & (self.state == OCCUPIED)
        return np.where(gone, np.uint8(UNKNOWN), self.state)

    def distance(self, ignored: Collection[int] = (), unknown_is_occupied: bool = False) -> np.ndarray:
        """Signed distance [X, Y, Z] float32 from each voxel's middle to the nearest face of what is occupied, metres,
        negative inside of it; +inf where nothing is.
        """
        key = (frozenset(ignored), unknown_is_occupied)
        found = self._distances.get(key)
        if found is None:
            state = self.state_without(ignored)
            found = signed_distance(state != FREE if unknown_is_occupied else state == OCCUPIED, self.grid.voxel_size)
            found = _keep(self._distances, key, found)
        return found

    def query(
        self, points: np.ndarray, ignored: Collection[int] = (), unknown_is_occupied: bool = False
    ) -> NearestSurface:
        """What is next to points [P, 3] (map frame, metres), distances interpolated between voxels."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        voxels, inside = self.grid.voxels_of(points)
        at = tuple(np.where(inside[:, None], voxels, 0).T)
        state = np.where(inside, self.state_without(ignored)[at], np.uint8(UNKNOWN))
        distance = np.full(len(points), np.nan, np.float32)
        object_id = np.full(len(points), -1, np.int32)
        field = self.distance(ignored, unknown_is_occupied)
        if len(points) and np.isfinite(field[0, 0, 0]):  # something is occupied, and something is not
            places = (points[inside] - self.grid.origin) / self.grid.voxel_size - 0.5
            distance[inside] = interpolated(field, places)[0]
            object_id[inside] = self._owners_towards(places, field, frozenset(ignored))
        return NearestSurface(distance, object_id, state)

    def _owners_towards(self, places: np.ndarray, field: np.ndarray, ignored: frozenset[int]) -> np.ndarray:
        """Object of the nearest occupied voxel to `places` [P, 3] (voxels), -1 where it is no object's.

        It lies down the slope of the distance `field`; where that leads between two that are about as near, all are
        looked through.
        """
        distance, slope = interpolated(field, places)
        steepness = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)
        # Half a voxel beyond the face: in the middle of the voxel that it belongs to.
        surface = places - slope / steepness * (distance[:, None] / self.grid.voxel_size + 0.5)
        owners, landed = self._owners_around(np.rint(surface).astype(np.int64), ignored)
        if not landed.all():
            tree, owners_of = self._surfaces(ignored)
            owners[~landed] = owners_of[tree.query(places[~landed])[1]]
        return owners

    def _surfaces(self, ignored: frozenset[int]) -> tuple[cKDTree, np.ndarray]:
        """Occupied voxels without those of the `ignored`, to find the nearest of, and their objects."""
        found = self._trees.get(ignored)
        if found is None:
            occupied = np.argwhere(self.state_without(ignored) == OCCUPIED)
            tree = cKDTree(occupied, balanced_tree=False, compact_nodes=False)
            found = _keep(self._trees, ignored, (tree, self.object_id[tuple(occupied.T)]))
        return found

    def _owners_around(self, voxels: np.ndarray, ignored: frozenset[int]) -> tuple[np.ndarray, np.ndarray]:
        """Object of voxels [P, 3] where they are occupied, else of the nearest of their neighbours that is; and whether
        one is, [P] bool.
        """
        owners, landed = np.full(len(voxels), -1, np.int32), np.zeros(len(voxels), bool)
        for neighbours in (NEIGHBOURS[:1], NEIGHBOURS[1:]):  # nearly all stand in one already
            rows = np.flatnonzero(~landed)
            around = np.clip(voxels[rows, None] + neighbours, 0, np.array(self.grid.shape) - 1)
            at = tuple(around.transpose(2, 0, 1))
            found, stands = self.object_id[at], self.state[at] == OCCUPIED
            if ignored:
                stands &= ~np.isin(found, np.fromiter(ignored, np.int32))
            first = stands.argmax(axis=1)[:, None]
            landed[rows] = np.take_along_axis(stands, first, 1)[:, 0]
            owners[rows] = np.where(landed[rows], np.take_along_axis(found, first, 1)[:, 0], -1)
        return owners, landed


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> Value:
    """Put a value in the place of the oldest, for the next who asks."""
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
    return value


def interpolated(field: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [P] and slopes [P, 3] (per voxel) of a field [X, Y, Z] at places [P, 3] in voxels, trilinear; outside of
    the middles of its outermost voxels, those of the nearest place within.
    """
    last = np.array(field.shape) - 1
    within = np.clip(places, 0, last)
    low = np.clip(np.floor(within).astype(np.int64), 0, np.maximum(last - 1, 0))
    share = (within - low).astype(np.float32)
    corners = np.empty((2, 2, 2, len(places)), np.float32)
    for corner in np.ndindex(2, 2, 2):
        corners[corner] = field[tuple(np.minimum(low + corner, last).T)]
    x, y, z = share.T
    along_x = corners[1] - corners[0]
    at_x = corners[0] + x * along_x
    along_y, at_y = at_x[1] - at_x[0], at_x[0] + y * (at_x[1] - at_x[0])
    value = at_y[0] + z * (at_y[1] - at_y[0])
    slope_x = along_x[0] + y * (along_x[1] - along_x[0])
    slopes = (slope_x[0] + z * (slope_x[1] - slope_x[0]), along_y[0] + z * (along_y[1] - along_y[0]), at_y[1] - at_y[0])
    return value, np.stack(slopes, axis=1)


def signed_distance(solid: np.ndarray, voxel_size: float) -> np.ndarray:
    """Distance [X, Y, Z] float32 of every voxel's middle to the nearest face between `solid` [X, Y, Z] bool and the
    rest, metres, negative inside; +inf where nothing is solid, -inf where all is.

    The exact Euclidean transform (Felzenszwalb and Huttenlocher 2012) between middles, less half a voxel.
    """
    if not solid.any():
        return np.full(solid.shape, np.inf, np.float32)
    if solid.all():
        return np.full(solid.shape, -np.inf, np.float32)
    # Two labels: to each voxel the nearest of the other one.
    between = edt.edt(solid.astype(np.uint8) + np.uint8(1), parallel=num_threads())
    return np.where(solid, 0.5 - between, between - 0.5).astype(np.float32) * np.float32(voxel_size)
