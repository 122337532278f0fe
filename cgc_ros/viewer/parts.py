"""The parts of the selected object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from cgc_ros.mapping import MapObject, MapSnapshot


def parts_of(object_id: int | None, snapshot: MapSnapshot | None) -> tuple[MapObject, ...]:
    """An object's parts; none where it is not cut. Parts of all objects are computed, once per snapshot."""
    if snapshot is None or all(record.object_id != object_id for record in snapshot.part_records.values()):
        return ()
    return tuple(part for part in snapshot.parts if part.parent_id == object_id)


def part_of_points(points: np.ndarray, parts: Sequence[MapObject], reach: float, none: int) -> np.ndarray:
    """Id of the part whose cloud is nearest to each of an object's points, [P] int32; `none` beyond `reach` metres."""
    if not parts:
        return np.full(len(points), none, np.int32)
    owners = np.repeat([part.id for part in parts], [len(part.points) for part in parts])
    tree = cKDTree(np.concatenate([part.points for part in parts]))
    distances, nearest = tree.query(points, distance_upper_bound=reach)
    found = np.isfinite(distances)
    return np.where(found, owners[np.where(found, nearest, 0)], none).astype(np.int32)
