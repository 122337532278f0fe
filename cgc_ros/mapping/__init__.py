"""The incremental mapper and the session that runs it."""

from cgc_ros.mapping.config import (
    DensityConfig,
    KeyframeConfig,
    MapperConfig,
    SeedingConfig,
    SegmentationConfig,
    TrainingConfig,
)
from cgc_ros.mapping.mapper import FrameOutcome, Mapper
from cgc_ros.mapping.session import MappingSession, SessionStatus
from cgc_ros.mapping.snapshot import MapSnapshot, ViewRender
from cgc_ros.segmentation.objects import MapObject, OrientedBox

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
    "SeedingConfig",
    "SegmentationConfig",
    "SessionStatus",
    "TrainingConfig",
    "ViewRender",
]
