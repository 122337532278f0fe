"""Every number of the way from masks to objects; the mapper adds when each step is due (`mapping.config`)."""

from __future__ import annotations

from dataclasses import dataclass

from cgc_ros.declared import Settings, number


@dataclass(frozen=True)
class AssociationConfig(Settings):
    """Which masks of different views are one object (`segmentation.association`)."""

    consensus: float = number(
        0.5, "mean agreement of the views that see two masks, from which on they are one object", 0, 1
    )
    purity: float = number(0.65, "a mask that other views scatter more covers several objects and is left out", 0, 1)
    visibility: float = number(0.3, "share of a mask's Gaussians that a view must see to be asked about it", 0, 1)
    masked_share: float = number(
        0.5, "share of what it sees of a mask that a view must have masks for to be asked", 0, 1
    )
    inertia: float = number(0.1, "say of the last association, relative to the views that see two masks", 0, 10)
    sure_levels: tuple[float, float] = number(
        (0.95, 0.9), "agreement from which masks are joined without further weighing, in two passes", 0, 1
    )
    sure_observers: int = number(3, "views that must see both masks to join them so", 1, 1000)
    prior_observers: float = number(0.5, "views that are assumed to disagree: one view's word is not enough", 0, 100)
    consistent: float = number(
        0.9, "mean agreement within an object's masks, below which they are looked at one by one again", 0, 1
    )
    at_home: float = number(0.8, "agreement of a mask with its own object, below which others are tried", 0, 1)
    near: float = number(0.5, "of the consensus: objects that agree so much are looked at together", 0, 1)
    association_sample: int = number(
        20_000, "Gaussians that association looks at, at most; all are labelled", 100, 10_000_000
    )


@dataclass(frozen=True)
class LabellingConfig(Settings):
    """Which object each Gaussian belongs to, and which objects stand (`segmentation.labelling`)."""

    min_share: float = number(0.3, "share of a Gaussian's votes that its object must have", 0, 1)
    min_support: float = number(0.15, "share of the keyframes that see an object which must have it as a mask", 0, 1)
    observed_share: float = number(
        0.5, "share of an object's Gaussians that a keyframe must see to count for that", 0, 1
    )
    max_standing: float = number(
        10.0, "keyframes that the memory of departed ones speaks for, at most: the present must overrule it", 0, 10_000
    )


@dataclass(frozen=True)
class StrayConfig(Settings):
    """What lies apart from its object and leaves it (`segmentation.pieces`)."""

    cells: int = number(4, "along an object: Gaussians in neighbouring cells hang together", 1, 100)
    min_body: int = number(
        300, "Gaussians of an object's largest group: a smaller one is thinly mapped anyhow", 0, 1_000_000
    )
    min_share: float = number(0.2, "of the body's Gaussians: a larger group may be what something hides in part", 0, 1)
    min_gap: float = number(0.5, "from the body, in lengths of the object: a nearer group stays", 0, 100)


@dataclass(frozen=True)
class BackgroundConfig(Settings):
    """What is floor, wall or table top rather than a thing (`segmentation.background`)."""

    max_thing: float = number(
        1.0, "length of a thing that views show whole, in typical distances of the scene", 0.01, 100
    )
    max_cut_thing: float = number(
        0.4, "length of one that the image's border cuts in every view, in the same unit", 0.01, 100
    )
    max_thing_area: float = number(0.35, "share of the image that a thing takes, in its median view", 0.001, 1)
    min_agreement: float = number(
        0.4, "share of its Gaussians' votes that a thing has: what views cut differently is a surface's piece", 0, 1
    )
    hysteresis: float = number(1.25, "factor beyond a limit that changes what an object was taken for", 1, 10)


@dataclass(frozen=True)
class PartConfig(Settings):
    """Which of the finer masks cut an object into parts (`segmentation.parts`)."""

    min_share: float = number(0.05, "of what a view sees of an object: smaller masks cut nothing off it", 0, 1)
    sample: int = number(
        2000, "Gaussians of an object that association looks at, at most; all are labelled", 100, 10_000_000
    )


@dataclass(frozen=True)
class NamesConfig(Settings):
    """How a 2D detector's boxes name objects, voted over views (`segmentation.object_names`)."""

    min_iou: float = number(0.5, "of an object's box in the label image with the detection's", 0, 1)
    min_fill: float = number(0.2, "of the labelled pixels in a detection's box that must be the object's", 0, 1)
    max_ignored: float = number(0.5, "of a detection's box that may be ignored: more is no part of the world", 0, 1)
    min_pixels: int = number(12, "of an object in the label image: fewer say little about its box", 1, 1_000_000, "px")
    trim: float = number(0.005, "of an object's pixels that may be stray on each side of its box", 0, 0.4)
    memory: float = number(0.98, "of a vote's weight that is left after one more view of the object", 0, 1)
    prior: float = number(0.5, "weight of a doubt that no view confirms: one view alone is never sure", 0, 100)
    hysteresis: float = number(1.2, "factor by which a new name must outweigh the one in use", 1, 100)
    min_confidence: float = number(0.15, "below which an object has no name", 0, 1)
    same_translation: float = number(0.02, "within which a view is no new one, in scene depths", 0, 10)
    same_rotation_deg: float = number(2.0, "within which a view is no new one", 0, 180, "deg")


@dataclass(frozen=True)
class FloaterConfig(Settings):
    """Which Gaussians float beside the body of their object (`segmentation.objects`)."""

    neighbours: int = number(8, "nearest Gaussians that one is compared with", 2, 100)
    max_mean_gap: float = number(
        3.0, "mean distance to them, in units of the object's median: beyond, it floats", 1, 100
    )
    max_gap: float = number(5.0, "distance to one of them, in the same unit: beyond, the object is parted", 1, 100)
    min_part: float = number(0.1, "share of the Gaussians: a smaller part floats", 0, 1)
