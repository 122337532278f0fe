"""Every number of stereo matching and of the depth guessed beside it."""

from __future__ import annotations

from dataclasses import dataclass

from cgc_ros.declared import Settings, group, number, odd


@dataclass(frozen=True)
class ConsistencyConfig(Settings):
    """How stereo depth is checked in views that have depth of their own."""

    witnesses: int = number(6, "keyframes with depth that a keyframe's stereo depth is checked against", 0, 64)
    witness_reach: float = number(
        3.0, "times `ideal_angle_deg` at which they stand: false depth is the same from nearby", 0.1, 20
    )
    agreement: float = number(0.03, "relative difference of depth up to which a view confirms", 0, 1)
    seen_through: float = number(
        0.08, "relative distance before a view's surface from which on it contradicts: it sees through", 0, 1
    )
    enough: int = number(2, "views that contradict, of which depth is dropped where fewer confirm", 1, 64)
    checked_pixels: int = number(76_800, "of a view, about; neighbours share what is found", 1024, 100_000_000, "px")


@dataclass(frozen=True)
class StereoConfig(Settings):
    """Which views are matched and how. Pixels are those of the working size unless a text says otherwise."""

    working_pixels: int = number(
        153_600, "images are shrunk to about this many pixels; more: finer and slower", 1024, 100_000_000, "px"
    )
    max_sources: int = number(5, "views that one is matched with at most", 1, 8)
    ideal_angle_deg: float = number(4.0, "between the lines of sight of two views that are matched", 0.1, 45, "deg")
    angle_spread: float = number(0.6, "of the logarithm of the angle about the ideal: how choosy partners are", 0.05, 5)
    max_angle_deg: float = number(
        18.0, "wider ones do not serve the background: too much of the foreground looks different", 0.1, 90, "deg"
    )
    min_overlap: float = number(0.4, "share of a view that one it is matched with must see", 0, 1)
    background: float = number(4.0, "times the typical depth: what partners of a wider baseline are for", 1, 100)
    background_weight: float = number(0.5, "of the background, beside what lies at the typical depth", 0, 10)
    repeated: float = number(
        0.5, "share of its worth that a partner loses where another stands in the same place", 0, 1
    )
    settled: float = number(0.4, "share of its worth that the background loses with each partner chosen for it", 0, 1)
    least_worth: float = number(0.2, "of the best partner's: poorer ones cost more coverage than they bring", 0, 1)
    max_planes: int = number(96, "planes of the sweep at half the working size, at most", 12, 1024)
    plane_step: float = number(
        1.0, "parallax between two planes at half the working size; wider where `max_planes` asks", 0.1, 10, "px"
    )
    window: int = number(5, "side of the square windows that are correlated", 3, 31, "px", rule=odd)
    support_taps: int = number(5, "samples along a side of the support windows, which decide", 3, 7, rule=odd)
    support_stride: int = number(2, "between two samples of a support window", 1, 2, "px")
    noise: float = number(
        1.0 / 255.0, "standard deviation of a grey value (0..1): flatter windows do not correlate", 1e-5, 0.2
    )
    hidden: float = number(
        0.1, "score (0..1) that a view may cost a point at most: what is before it may hide it", 0, 2
    )
    smooth_small: float = number(0.15, "semi-global: cost (of 1 - ZNCC) of one plane between two neighbours", 0, 2)
    smooth_large: float = number(1.0, "semi-global: cost of several planes where the image is flat", 0, 10)
    smooth_edge: float = number(8.0 / 255.0, "semi-global: change of grey that halves what smooth_large adds", 1e-4, 1)
    color_sigma: float = number(20.0 / 255.0, "distance of colours (0..1) that parts surfaces", 1e-3, 1)
    same_surface: float = number(2.0, "parallax between two depths of one surface, at most", 0.1, 20, "px")
    unique_lead: float = number(
        0.05, "score over the next best plane that makes a match half as credible as a lone one", 0, 1
    )
    prior_lead: float = number(0.15, "lead that the map's own depth is credited with, having none", 0, 2)
    common_lead: float = number(0.02, "mean score by which one depth for a whole view must beat infinity", 0, 1)
    min_confidence: float = number(0.3, "less confident pixels get no depth: raise for fewer outliers", 0, 1)
    min_parallax: float = number(
        6.0, "distance from where a point at infinity would be: with less, depth is all error of the pose", 0, 100, "px"
    )
    consistency: ConsistencyConfig = group(ConsistencyConfig)


@dataclass(frozen=True)
class FillingConfig(Settings):
    """Depth guessed where none was measured (`stereo.depth_filling`)."""

    working_width: int = number(128, "width at which depth is spread", 16, 1024, "px")
    color_sigma: float = number(0.02, "distance of neighbours' colours (0..1) that parts surfaces", 1e-3, 1)
    least_tie: float = number(1e-3, "of neighbours that differ, relative to those that do not", 1e-6, 1)
    min_known: float = number(0.2, "share of a working pixel that must know its depth", 0, 1)
    border: int = number(
        15, "of a 640 px wide image: unknown depth so near to a step belongs to the step's far side", 0, 200, "px"
    )
    far_from_known: float = number(
        0.08, "of the image's width: guesses farther than this from known depth go beyond all cameras", 0, 10
    )
    beyond: float = number(1.2, "times the radius about the cameras' middle in which most of them stand", 0, 1000)
