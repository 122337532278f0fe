"""Which regions belong to one object: evidence at each border, and merging from the weakest border up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.masks.planes import fit_planes, residual_under
from cgc_ros.masks.region_graph import RegionGraph

_FLATNESS_UNIT = 0.012  # relative residual of inverse depth up to which a region counts as flat
_LARGE = 0.04  # share of the image from which a flat region counts as a surface that others may lie in


@dataclass(frozen=True)
class BorderWeights:
    """Logistic regression of "these two regions are different objects" on the evidence at their border (docs/masks.md: fitting)."""

    bias: float
    histogram: float  # distance of the colour histograms, 0..1
    gradient: float  # mean colour edge along the border, 0..1
    contrast: float  # distance of the mean colours in standard deviations of the calmer region, 0..2
    shared: float  # share of the smaller region's outline that the border is
    smaller: float  # log of the smaller region's area in percent of the image
    larger: float  # the same of the larger region
    step: float = 0.0  # relative jump of depth across the border, 1 = 10 %
    concave: float = 0.0  # the surfaces form a valley
    convex: float = 0.0  # the surfaces form a ridge
    coplanar: float = 0.0  # the smaller region lies in the plane of the larger, flat one


COLOR_WEIGHTS = BorderWeights(
    bias=-3.96, histogram=2.02, gradient=1.91, contrast=1.86, shared=-2.07, smaller=-0.05, larger=0.45,
)
DEPTH_WEIGHTS = BorderWeights(
    bias=-4.27, histogram=3.08, gradient=2.16, contrast=1.48, shared=-2.76, smaller=0.29, larger=0.16,
    step=3.99, concave=2.25, convex=-3.42, coplanar=-10.4,
)

#: Order of the columns of `evidence`.
EVIDENCE = ("histogram", "gradient", "contrast", "shared", "smaller", "larger", "step", "concave", "convex", "coplanar")


def evidence(graph: RegionGraph, which: np.ndarray) -> np.ndarray:
    """[len(which), 10] evidence at the borders with indices `which`, columns as in EVIDENCE; the last four are 0 without depth."""
    regions, borders = graph.regions, graph.borders
    first, second = graph.pairs[which].T
    is_smaller = regions.area[first] <= regions.area[second]
    small, large = np.where(is_smaller, first, second), np.where(is_smaller, second, first)
    length = borders.length[which]
    area = regions.area[:, None]
    histogram, mean = regions.histogram / area, regions.color / area
    variance = np.maximum(regions.color_squared / area - mean**2, 0.0) + 4.0  # 2 Lab units of noise
    deviation = np.sqrt(np.minimum(variance[first], variance[second]))
    percent = np.log(100.0 * regions.area / regions.area.sum())
    columns = [
        np.abs(histogram[first] - histogram[second]).sum(axis=1) / 6.0,
        borders.gradient[which] / length,
        np.minimum(np.linalg.norm((mean[first] - mean[second]) / deviation, axis=1) / 4.0, 2.0),
        length / graph.perimeters()[small],
        percent[small],
        percent[large],
        borders.step[which] / length,
        borders.concave[which] / length,
        borders.convex[which] / length,
        _coplanarity(graph, small, large) if regions.has_depth else np.zeros(len(which)),
    ]
    return np.stack(columns, axis=1)


def border_log_odds(graph: RegionGraph, which: np.ndarray, weights: BorderWeights) -> np.ndarray:
    """Log odds that the two sides of each border are different objects, [len(which)]."""
    return weights.bias + evidence(graph, which) @ np.array([getattr(weights, name) for name in EVIDENCE])


def merge_regions(graph: RegionGraph, weights: BorderWeights, thresholds: tuple[float, ...], observe=None) -> list[np.ndarray]:
    """Merge the two sides of the weakest border again and again until none has log odds below the threshold.

    Pairs that are each other's weakest border merge in one round, which gives what merging one after the other would where
    evidence grows with merging (reciprocal nearest neighbours), in some 30 vectorised rounds.
    Returns for each of the rising `thresholds` the region of every superpixel, [n] int64 with ids 0..k-1; each level nests in the
    next. `observe(graph, which, region_of)` sees the borders that changed before each round (the weights are fitted on them).
    """
    region_of = np.arange(len(graph.regions))
    log_odds = np.zeros(len(graph.pairs))
    changed = np.arange(len(graph.pairs))
    levels = []
    for threshold in thresholds:
        while True:
            if observe is not None:
                observe(graph, changed, region_of)
            log_odds[changed] = border_log_odds(graph, changed, weights)
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
    """Indices of the borders that are the weakest of both their sides and below the threshold; no region is in two of them."""
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
    known = (moments[:, 0] > 0.5 * area)
    flat = np.clip(1.5 - planes.residual[large] / _FLATNESS_UNIT, 0.0, 1.0)
    surface = np.minimum(area[large] / (_LARGE * area.sum()), 1.0)
    lies_in = np.clip(1.5 - residual_under(moments[small], planes.normal[large]) / _FLATNESS_UNIT, 0.0, 1.0)
    return np.where(known[small] & known[large], flat * surface * lies_in, 0.0)
