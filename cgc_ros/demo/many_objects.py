"""A saved map of many small things, to ask questions about: a grid of balls far from any recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianSeeds
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState

_PLACE = np.array([0.0, 0.0, 100.0])  # metres, map frame: out of every camera's sight
_SPACING, _RADIUS = 0.3, 0.06  # metres


def write_map(path: Path, num_objects: int = 200, gaussians_each: int = 150, seed: int = 0) -> None:
    """Save a map whose objects have ids 1..`num_objects`, as a mapper of the default configuration would."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(num_objects)))
    cells = np.stack([np.arange(num_objects) % side, np.arange(num_objects) // side, np.zeros(num_objects)], axis=1)
    directions = rng.normal(size=(num_objects, gaussians_each, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    means = (_PLACE + _SPACING * cells)[:, None] + _RADIUS * directions
    count = num_objects * gaussians_each
    mapper = Mapper(MapperConfig(backend="cpu"))
    mapper.model.append(
        GaussianSeeds(
            torch.from_numpy(means.reshape(count, 3)),
            torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
            torch.full((count, 3), 0.01),
            torch.full((count,), 0.9),
            torch.from_numpy(rng.random((num_objects, 3))).repeat_interleave(gaussians_each, dim=0),
        ),
        step=0,
    )
    uids, ids = np.arange(count), np.repeat(np.arange(1, num_objects + 1), gaussians_each)
    layer = mapper.segmenter.layer
    records = {int(each): ObjectRecord(int(each), False, 0.9, 5, 1, 2) for each in np.unique(ids)}
    found = ObjectState(uids, ids.astype(np.int32), np.ones(count, np.float32), records, np.zeros(count, bool))
    layer.publish(found, means.reshape(count, 3))
    # What departed keyframes said: it keeps the objects while others are mapped.
    layer.memory = VoteMemory(uids, ids, np.full(count, 3.0, np.float32), dict.fromkeys(records, 5), 2)
    layer.first_seen = dict.fromkeys(records, 1)
    layer.registry.members = {each: uids[ids == each] for each in records}
    layer.registry.next_id = num_objects + 1
    mapper.scene_depth, mapper.stamp_ns = 1.5, 2
    mapper.save(path)
