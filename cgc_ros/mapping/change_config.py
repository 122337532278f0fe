"""Numbers of how the map notices that objects went, came or moved (`mapping.change`)."""

from __future__ import annotations

from dataclasses import dataclass

from cgc_ros.declared import Settings, choice, group, number

_MANY = 100_000_000


@dataclass(frozen=True)
class ComparisonConfig(Settings):
    """When a view agrees with the map, shows what lies behind it, or something before it."""

    width: int = number(240, "of the renders that frames are compared with", 32, 4096, "px")
    min_alpha: float = number(0.6, "opacity of the map below which a pixel says nothing", 0, 1)
    margins: tuple[float, ...] = number(
        (0.008, 0.012, 0.02, 0.035, 0.06), "relative depths, rising, by which a view may differ from the map", 1e-4, 1
    )
    plain_level: int = number(2, "which of the margins decides where nothing is known of an object, from 0", 0, 100)
    settled_views: float = number(
        3.0, "that must have agreed with what is mapped, more than not, for something before it to be new", 0, 100
    )
    most_views: float = number(8.0, "of those that are counted", 1, 1000)
    step: float = number(0.05, "relative change of depth between neighbours, at which a pixel says nothing", 0, 1)
    color_margin: float = number(
        4.0, "difference of colour at which a pixel looks otherwise, in median differences of the view", 0, 100
    )
    least_color: float = number(0.06, "the same in colour 0..1, at least", 0, 1)


@dataclass(frozen=True)
class ExistenceConfig(Settings):
    """How sure it is that an object is where the map has it: log odds that views add to."""

    limit: float = number(3.0, "of the log odds, either way: what was sure can be refuted", 0.1, 100)
    gain: float = number(1.6, "log odds that one view of the whole object adds or takes", 0.01, 100)
    absent: float = number(-1.0, "log odds below which an object is gone", -100, 0)
    agrees: float = number(0.6, "share of what a view tells of an object from which on it is there", 0, 1)
    refuted: float = number(0.65, "share that is seen through from which on it is not", 0, 1)
    usual: float = number(
        0.15, "share of an object that usually differs, at most, by the margin that is used for it", 0, 1
    )
    memory: float = number(0.8, "share of what is usual that a view which agrees leaves", 0, 1)
    confirmations: int = number(3, "views that agree before an object can be missed at all", 1, 1000)
    min_pixels: float = number(6.0, "of the comparison that must tell of an object for a view to count", 0, _MANY)
    min_share: float = number(0.15, "of the most that any view told of it, in the same sense", 0, 1)


@dataclass(frozen=True)
class ArrivalConfig(Settings):
    """What is new: an object whose place earlier keyframes saw through."""

    seen_through: int = number(3, "earlier keyframes that must have seen through its place", 1, 1000)
    share: float = number(0.6, "of its silhouette that a keyframe must see through, or confirm", 0, 1)
    min_pixels: int = number(12, "of the silhouette in a keyframe, for it to count", 1, _MANY)
    least_view: float = number(
        0.25, "of the most that a keyframe tells of it: one that tells less does not count", 0, 1
    )
    keyframes: int = number(24, "that are asked about a new object at most", 1, 1000)
    confirmations: int = number(2, "views that agree before an object is new", 1, 1000)
    changed_pixels: int = number(24, "of the comparison in one patch that make a frame a keyframe", 1, _MANY)
    otherwise: float = number(0.3, "share of such a patch that must look otherwise than the map", 0, 1)
    keyframe_gap: float = number(0.3, "between keyframes that are made for what changed", 0, 3600, "s")


@dataclass(frozen=True)
class RelocationConfig(Settings):
    """When something new is an object that was elsewhere before."""

    max_size_ratio: float = number(1.6, "of the lengths of two clouds of one object", 1, 100)
    min_fitness: float = number(0.6, "share of the smaller cloud that must lie on the other", 0, 1)
    tolerance: float = number(
        0.01, "distance at which points lie on each other, in typical distances of the scene", 0, 1
    )
    max_color: float = number(0.1, "mean difference of colour (0..1) of what is taken for the same", 0, 1)
    checked: int = number(5, "motions of one object that are held against views", 1, 100)
    views: int = number(3, "keyframes that they are held against", 1, 100)
    min_agreement: float = number(0.7, "share of an object, moved so, at whose place views must show something", 0, 1)


@dataclass(frozen=True)
class ChangeConfig(Settings):
    """What the map does about changes of the world."""

    mode: str = choice(
        "off",
        "depth: frames with depth are held against the map; off: the world is taken to stand still",
        ("off", "depth"),
    )
    min_interval: float = number(0.1, "between two comparisons of frames that are not held", 0, 3600, "s")
    silhouette_width: int = number(320, "of the renders that tell which pixels showed what is gone", 32, 4096, "px")
    silhouette_alpha: float = number(0.1, "opacity from which a pixel showed what is gone", 0, 1)
    silhouette_margin: int = number(2, "by which its silhouette is widened, in pixels of that render", 0, 100, "px")
    fresh_views: int = number(2, "that agree with something new before it counts as standing there", 1, 1000)
    stale_views: int = number(3, "that see through what is no object before it leaves the map", 1, 1000)
    comparison: ComparisonConfig = group(ComparisonConfig)
    existence: ExistenceConfig = group(ExistenceConfig)
    arrival: ArrivalConfig = group(ArrivalConfig)
    relocation: RelocationConfig = group(RelocationConfig)
