"""The incremental mapper and the session that runs it."""

from cgc_ros.mapping.config import (
    DensityConfig,
    KeyframeConfig,
    MapperConfig,
    PaperConfig,
    SeedingConfig,
    SegmentationConfig,
    TrainingConfig,
)
from cgc_ros.mapping.mapper import FrameOutcome, Mapper
from cgc_ros.mapping.paper_recipe import PaperMapper
from cgc_ros.mapping.session import MappingSession, SessionStatus, is_out_of_memory
from cgc_ros.mapping.snapshot import MapSnapshot, ViewRender
from cgc_ros.segmentation.objects import MapObject, OrientedBox


def create_mapper(config: MapperConfig | None = None, budget: float | None = None) -> Mapper:
    """An empty mapper of `config.recipe`; the paper's schedule is scaled to `budget`, the seconds of the whole run."""
    config = config or MapperConfig()
    return PaperMapper(config, budget) if config.recipe == "paper" else Mapper(config)


__all__ = [
    "DensityConfig",
    "FrameOutcome",
    "KeyframeConfig",
    "MapObject",
    "MapSnapshot",
    "Mapper",
    "MapperConfig",
    "MappingSession",
    "OrientedBox",
    "PaperConfig",
    "PaperMapper",
    "SeedingConfig",
    "SegmentationConfig",
    "SessionStatus",
    "TrainingConfig",
    "ViewRender",
    "create_mapper",
    "is_out_of_memory",
]
