"""Voxels as a file for other programs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cgc_ros.space.space import OCCUPIED, Space


def write_voxels(path: Path, space: Space, ignored: Collection[int], origin: np.ndarray) -> np.ndarray:
    """A space without the objects `ignored` as a compressed .npz; `origin` [3]: of the map in the world, metres.

    In it `origin` [3] float64, least corner of the first voxel, and `voxel_size`, metres; `state` [X, Y, Z] uint8 (0
    unknown, 1 free, 2 occupied); `distance` [X, Y, Z] float32 metres, signed; `object` [X, Y, Z] int32, -1 none.
    Returns `state`.
    """
    state = space.state_without(ignored)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            origin=space.grid.origin + origin,
            voxel_size=space.grid.voxel_size,
            state=state,
            distance=space.distance(ignored),
            object=np.where(state == OCCUPIED, space.object_id, np.int32(-1)),
        )
    return state
