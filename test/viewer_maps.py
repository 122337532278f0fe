"""A small mapped scene for the viewer's tests: made once, copied from its file for each test that changes it."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, SegmentationConfig

SEQUENCE = SyntheticSequence(num_frames=8, width=160, height=120)
CONFIG = MapperConfig(backend="cpu", sh_degree=0, segmentation=SegmentationConfig(cluster_every=6))
STEPS = 12


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="cgc_ros_viewer_test_")
    mapper = Mapper(CONFIG)
    for index in range(len(SEQUENCE)):
        mapper.add_frame(SEQUENCE[index])
    for _ in range(STEPS):
        mapper.step()
    mapper.refresh_objects()
    mapper.save(Path(folder.name) / "map.cgc")
    return folder


def map_file() -> Path:
    """A saved map of four solids on a floor in a room, by eight keyframes. Not to be written to."""
    return Path(_folder().name) / "map.cgc"


def mapper() -> Mapper:
    """A mapper of one's own with that map."""
    return Mapper.load(map_file(), CONFIG)
