"""The incremental mapper and the session that runs it."""

from importlib import import_module

from cgc_ros.mapping.config import (
    DensityConfig,
    KeyframeConfig,
    MapperConfig,
    PaperConfig,
    SeedingConfig,
    SegmentationConfig,
    TrainingConfig,
)
from cgc_ros.mapping.events import ObjectEvent
from cgc_ros.mapping.failures import Failure, FailureLog, is_gpu_lost, is_out_of_memory
from cgc_ros.mapping.mapper import FrameOutcome, Mapper
from cgc_ros.mapping.session import MappingSession
from cgc_ros.mapping.session_record import SessionStatus
from cgc_ros.mapping.snapshot import MapSnapshot, ViewRender
from cgc_ros.segmentation.objects import MapObject, OrientedBox

#: Where the mapper of a recipe is. By name: recipes are rooms above this one.
RECIPES = {"default": ("cgc_ros.mapping.mapper", "Mapper"), "paper": ("cgc_ros.paper.mapper", "PaperMapper")}


def create_mapper(config: MapperConfig | None = None, budget: float | None = None) -> Mapper:
    """An empty mapper of `config.recipe`; a schedule that ends (the paper's) is scaled to `budget`, the seconds of the
    whole run.
    """
    config = config or MapperConfig()
    module, name = RECIPES[config.recipe]
    return getattr(import_module(module), name).for_budget(config, budget)


__all__ = [
    "DensityConfig",
    "Failure",
    "FailureLog",
    "FrameOutcome",
    "KeyframeConfig",
    "MapObject",
    "MapSnapshot",
    "Mapper",
    "MapperConfig",
    "MappingSession",
    "ObjectEvent",
    "OrientedBox",
    "PaperConfig",
    "SeedingConfig",
    "SegmentationConfig",
    "SessionStatus",
    "TrainingConfig",
    "ViewRender",
    "create_mapper",
    "is_gpu_lost",
    "is_out_of_memory",
]
