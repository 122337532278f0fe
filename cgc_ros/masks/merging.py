"""Which regions belong to one object: evidence at each border, and merging from the weakest border up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cgc_ros.masks.planes import creases, departure, fit_planes, residual_under
from cgc_ros.masks.region_graph import RegionGraph

_FLATNESS_UNIT = 0.006  # relative residual of inverse depth, beyond noise, up to which a region counts as flat
_BEND_UNIT = 0.01  # relative distance from a common plane that counts half
_NOISE_UNIT = 0.004  # relative noise of inverse depth at which smoothness says half
_LARGE = 0.04  # share of the image from which a flat region counts as a surface that others may lie in

#: Columns of `evidence`.
COLOR_EVIDENCE = ("histogram", "texture", "gradient", "excess", "contrast", "shared", "smaller", "larger")
DEPTH_EVIDENCE = ("step", "concave", "convex", "valley", "ridge", "bend", "coplanar")
#: Colour and bend where surfaces run on: the nearer 1 for each, the less an edge of a print or a rounding says.
SMOOTH_EVIDENCE = ("smooth histogram", "smooth excess", "smooth contrast", "smooth bend")
EVIDENCE = COLOR_EVIDENCE + DEPTH_EVIDENCE + SMOOTH_EVIDENCE


#: Log odds of "these two regions are different objects" by logistic regression on the evidence at their border, where
#: there is no depth, and where both have it. Fitted by scripts/mask_weights/fit.py (docs/masks.md).
COLOR_WEIGHTS = {
    "bias": -3.84,
    "histogram": 2.18,
    "texture": 3.07,
    "gradient": -0.75,
    "excess": 3.18,
    "contrast": 1.12,
    "shared": -2.61,
    "smaller": 0.02,
    "larger": 0.39,
}
DEPTH_WEIGHTS = {
    "bias": -6.64,
    "histogram": 1.72,
    "texture": 2.17,
    "gradient": -0.81,
    "excess": 4.39,
    "contrast": 1.57,
    "shared": -1.28,
    "smaller": 0.52,
    "larger": -0.04,
    "step": 4.67,
    "concave": 1.60,
    "convex": -2.04,
    "valley": -0.21,
    "ridge": -1.43,
    "bend": 4.05,
    "coplanar": -1.59,
    "smooth histogram": 2.84,
    "smooth excess": -3.89,
    "smooth contrast": -2.34,
    "smooth bend": 1.86,
}


def evidence(graph: RegionGraph, which: np.ndarray) -> np.ndarray:
    """[len(which), 19] evidence at the borders with indices `which`, columns as in EVIDENCE, without depth the first
    8.
    """
    regions, borders = graph.regions, graph.borders
    first, second = graph.pairs[which].T
    is_smaller = regions.area[first] <= regions.area[second]
    small, large = np.where(is_smaller, first, second), np.where(is_smaller, second, first)
    length = borders.length[which]
    area = regions.area[:, None]
    histogram, texture, mean = regions.histogram / area, regions.texture / area, regions.color / area
    variance = np.maximum(regions.color_squared / area - mean**2, 0.0) + 4.0  # 2 Lab units of noise
    deviation = np.sqrt(np.minimum(variance[first], variance[second]))
    percent = np.log(100.0 * regions.area / regions.area.sum())
    inside = regions.gradient / regions.area
    gradient = borders.gradient[which] / length
    columns = [
        np.abs(histogram[first] - histogram[second]).sum(axis=1) / 6.0,
        np.abs(texture[first] - texture[second]).sum(axis=1) / 2.0,
        gradient,
        gradient - np.maximum(inside[first], inside[second]),
        np.minimum(np.linalg.norm((mean[first] - mean[second]) / deviation, axis=1) / 4.0, 2.0),
        length / graph.perimeters()[small],
        percent[small],
        percent[large],
    ]
    if not regions.has_depth:
        return np.stack(columns, axis=1)
    crease = creases(regions.moments, regions.area, graph.pairs[which])
    bend = departure(regions.moments[first], regions.moments[second])
    columns += [
        borders.step[which] / length,
        borders.concave[which] / length,
        borders.convex[which] / length,
        np.clip(crease, 0.0, 1.0),
        np.clip(-crease, 0.0, 1.0),
        bend / (bend + _BEND_UNIT + 3.0 * graph.noise),
        _coplanarity(graph, small, large),
    ]
    found = dict(zip(COLOR_EVIDENCE + DEPTH_EVIDENCE, columns, strict=True))
    smooth = (1.0 - np.maximum(found["step"], found["concave"])) / (1.0 + graph.noise / _NOISE_UNIT)
    columns += [smooth * found[name.removeprefix("smooth ")] for name in SMOOTH_EVIDENCE]
    return np.stack(columns, axis=1)


def border_log_odds(graph: RegionGraph, which: np.ndarray) -> np.ndarray:
    """Log odds that the two sides of each border with index `which` are different objects, [len(which)]."""
    found = evidence(graph, which)
    odds = _weighted(found[:, : len(COLOR_EVIDENCE)], COLOR_WEIGHTS, COLOR_EVIDENCE)
    if graph.regions.has_depth:
        known = graph.regions.knows_depth()[graph.pairs[which]].all(axis=1)
        odds = np.where(known, _weighted(found, DEPTH_WEIGHTS, EVIDENCE), odds)
    return odds


def _weighted(found: np.ndarray, weights: dict[str, float], names: tuple[str, ...]) -> np.ndarray:
    return weights["bias"] + found @ np.array([weights[name] for name in names])


def merge_regions(
    graph: RegionGraph,
    thresholds: tuple[float, ...],
    log_odds_of: Callable[[RegionGraph, np.ndarray], np.ndarray] = border_log_odds,
    observe: Callable[[RegionGraph, np.ndarray, np.ndarray], None] | None = None,
) -> list[np.ndarray]:
    """Merge the two sides of the weakest border again and again until none has log odds below the threshold.

    Pairs that are each other's weakest border merge in one round, which gives what merging one after the other would
    where evidence grows with merging (reciprocal nearest neighbours), in some 30 vectorised rounds. Returns for each
    of the rising `thresholds` the region of every superpixel, [n] int64 with ids 0..k-1; each level nests in the next.
    `observe(graph, which, region_of)` sees the borders that changed before each round (the weights are fitted on
    them).
    """
    region_of = np.arange(len(graph.regions))
    log_odds = np.zeros(len(graph.pairs))
    changed = np.arange(len(graph.pairs))
    levels = []
    for threshold in thresholds:
        while True:
            if observe is not None:
                observe(graph, changed, region_of)
            log_odds[changed] = log_odds_of(graph, changed)
            changed = changed[:0]
            chosen = _mutual_weakest(graph.pairs, log_odds, len(graph.regions), threshold)
            if not len(chosen):
                break
            joined = np.arange(len(graph.regions))
            joined[graph.pairs[chosen, 1]] = graph.pairs[chosen, 0]
            kept, new_region = np.unique(joined, return_inverse=True)
            has_grown = np.zeros(len(kept), bool)
            has_grown[new_region[graph.pairs[chosen, 0]]] = True
            graph, new_border = graph.merged(new_region, len(kept))
            moved = np.empty(len(graph.pairs))
            moved[new_border[new_border >= 0]] = log_odds[new_border >= 0]
            log_odds = moved
            changed = np.flatnonzero(has_grown[graph.pairs].any(axis=1))
            region_of = new_region[region_of]
        levels.append(region_of)
    return levels


def _mutual_weakest(pairs: np.ndarray, log_odds: np.ndarray, count: int, threshold: float) -> np.ndarray:
    """Indices of the borders that are the weakest of both their sides and below the threshold; no region is in two of
    them.
    """
    order = np.argsort(log_odds, kind="stable")
    rank = np.empty(len(order), np.int64)  # distinct, so that no two borders tie
    rank[order] = np.arange(len(order))
    weakest = np.full(count, len(order), np.int64)
    np.minimum.at(weakest, pairs[:, 0], rank)
    np.minimum.at(weakest, pairs[:, 1], rank)
    return np.flatnonzero((log_odds < threshold) & (rank == weakest[pairs[:, 0]]) & (rank == weakest[pairs[:, 1]]))


def _coplanarity(graph: RegionGraph, small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """0..1: the larger region is flat and large, and the smaller one lies in its plane."""
    moments, area = graph.regions.moments, graph.regions.area
    planes = fit_planes(moments)
    unit = _FLATNESS_UNIT + 2.0 * graph.noise
    known = graph.regions.knows_depth()
    flat = np.clip(1.5 - planes.residual[large] / unit, 0.0, 1.0)
    surface = np.minimum(area[large] / (_LARGE * area.sum()), 1.0)
    lies_in = np.clip(1.5 - residual_under(moments[small], planes.normal[large]) / unit, 0.0, 1.0)
    return np.where(known[small] & known[large], flat * surface * lies_in, 0.0)
