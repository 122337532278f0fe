"""The space of a map: free where its keyframes saw through, occupied by what they saw and by its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cgc_ros.mapping import Mapper, MapSnapshot
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.segmentation.objects import MapObject
from cgc_ros.space.evidence import DepthView, SpaceEvidence
from cgc_ros.space.grid import SpaceError, VoxelGrid
from cgc_ros.space.space import FREE, NEIGHBOURS, OCCUPIED, UNKNOWN, Space

_SURE_ALPHA = 0.95  # opacity from which on the map's own depth counts
_AROUND = 0.1  # metres beyond what there is, in a box that nobody asked for
_REACH = 2  # voxels from an object's cloud within which what is occupied is that object's
_SEEN_THROUGH = 3  # views by which a point of an object's cloud is nothing but a speck in the air


def space_of(mapper: Mapper, voxel_size: float, box: Sequence[float] | None = None) -> Space:
    """What is occupied, free and unknown in a map; box: x0, y0, z0, x1, y1, z1 in the map's frame, metres, None: around
    its objects. Raises SpaceError.

    Depth is a depth camera's where the keyframes have it, else the map's own where it is opaque.
    """
    snapshot = mapper.snapshot()
    objects = snapshot.objects
    grid = _grid(objects, voxel_size, box)
    evidence = SpaceEvidence(grid)
    for view in depth_views(mapper, snapshot):
        evidence.look(view)
    return fused(evidence, objects)


def depth_views(mapper: Mapper, snapshot: MapSnapshot) -> Iterator[DepthView]:
    """What each keyframe knows of distances."""
    for keyframe in mapper.keyframes:
        camera = keyframe.camera(1.0, mapper.device)
        measured = keyframe.world_depth() if keyframe.depth_trust == 1.0 else None
        yield DepthView(camera, _rendered(snapshot, keyframe, mapper) if measured is None else measured)


def _rendered(snapshot: MapSnapshot, keyframe: Keyframe, mapper: Mapper) -> np.ndarray:
    view = snapshot.render(keyframe.camera(1.0, mapper.device))
    depth = np.where(view.alpha >= _SURE_ALPHA, np.nan_to_num(view.depth), 0.0).astype(np.float32)
    if keyframe.ignore is not None:
        depth[keyframe.ignore] = 0.0
    return depth


def fused(evidence: SpaceEvidence, objects: Sequence[MapObject]) -> Space:
    """Views and objects in one: an object's cloud occupies what not all see through, and owns what is occupied there
    and next to it; things before their background.
    """
    grid, occupied = evidence.grid, evidence.is_occupied
    owners = np.full(grid.shape, -1, np.int32)
    for each in sorted(objects, key=lambda each: not each.background):
        voxels, inside = grid.voxels_of(each.points)
        at = tuple(voxels[inside].T)
        stands = (evidence.free[at] < _SEEN_THROUGH) | (evidence.hit[at] > 0)
        taken = tuple(axis[stands] for axis in at)
        occupied[taken] = True
        owners[taken] = each.id
    for _ in range(_REACH):
        _spread(owners, occupied)
    state = np.where(occupied, OCCUPIED, np.where(evidence.free > 0, FREE, UNKNOWN)).astype(np.uint8)
    return Space(grid, state, owners)


def _spread(owners: np.ndarray, occupied: np.ndarray) -> None:
    """What is occupied beside an object's voxels becomes its, too, in place."""
    open_ = np.argwhere(occupied & (owners < 0))
    beside = np.clip(open_[:, None] + NEIGHBOURS, 0, np.array(owners.shape) - 1)
    known = owners[tuple(beside.transpose(2, 0, 1))]  # [V, 27], nearest first
    first = (known >= 0).argmax(axis=1)
    owners[tuple(open_.T)] = known[np.arange(len(open_)), first]


def _grid(objects: Sequence[MapObject], voxel_size: float, box: Sequence[float] | None) -> VoxelGrid:
    if box is not None:
        return VoxelGrid.over(np.array(box[:3]), np.array(box[3:]), voxel_size)
    things = [each.points for each in objects if not each.background and len(each.points)]
    if not things:
        raise SpaceError("nothing_there", "the map has no objects: say which box to take")
    points = np.concatenate(things)
    return VoxelGrid.over(points.min(axis=0) - _AROUND, points.max(axis=0) + _AROUND, voxel_size)
