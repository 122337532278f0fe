"""Focal length, principal point, time offset and depth scale from matches between posed views: robust least squares.

Errors count by Cauchy's loss, so that a view with a bad pose loses its say. Poses err, and matches of one stretch of a
recording err together: each value's variance is the larger of the normal equations' and of the sandwich that takes
all matches of a stretch for one observation (White 1982; Liang and Zeger 1986). Matches are many and not independent:
each pair's count as few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.calibration.model import CENTRE, COUNT, DEPTH, FOCAL, MOUNT, OFFSET, CalibrationModel, Errors

#: Where the search starts: the best of each grid, one value after the other.
_STARTS = {FOCAL: np.linspace(-0.5, 0.5, 21), OFFSET: np.linspace(-0.3, 0.3, 25), DEPTH: np.linspace(-3.6, 3.6, 37)}
_MAX_STEP = np.array([0.1, 30.0, 30.0, 0.05, 0.3, *[0.05] * 3])
_DONE_STEP = np.array([2e-4, 0.1, 0.1, 2e-4, 2e-4, *[3e-4] * 3])
_ITERATIONS = 15
_CAUCHY = 2.385  # efficiency of 95% for normal errors
_MIN_SCALE_PX = 0.1  # of errors: no feature is located better
_DEPTH_NOISE = 0.02  # of a depth, as a share
_EFFECTIVE = 10.0  # a pair's matches count as so many
_STRETCHES = 12
#: Widths of priors about what is given, but for the principal point's, which is a share of the image's width.
_PRIORS = np.array([0.3, 0.05, 0.05, 0.3, 10.0, *[0.02] * 3])


@dataclass(frozen=True)
class Scales:
    """What one standard deviation of a match's errors is taken for, pixels: fixed, so that costs can be compared."""

    across: float
    along: np.ndarray  # [D]


@dataclass(frozen=True)
class Fit:
    """What fits, about what is given (`model.FOCAL` and so on), and one standard deviation of each."""

    values: np.ndarray  # [8]
    sigmas: np.ndarray  # [8], infinite where a value is not free
    cost: float  # mean of Cauchy's loss
    error_px: float  # median epipolar error


def fit(model: CalibrationModel, scales: Scales, free: np.ndarray, start: np.ndarray | None = None) -> Fit:
    """What fits the model's matches best with the `free` values ([8] bool); the others stay as given.

    `start` [8]: from there, else from the best places of a grid.
    """
    values = _start(model, free) if start is None else start
    width = float(np.median([each.width for each in model.views.intrinsics]))
    prior = _PRIORS**-2.0
    prior[CENTRE] /= width**2
    weight = _EFFECTIVE / max(_EFFECTIVE, len(model.matches) / len(np.unique(model.matches.pair_keys())))
    covariance, scores = np.diag(1.0 / prior), np.zeros((_STRETCHES, COUNT))
    stretch = model.matches.first * _STRETCHES // len(model.views.intrinsics)
    stretch = np.concatenate([stretch, stretch[model.ranged]])
    for _ in range(_ITERATIONS):
        errors = model.errors(values)
        rows = np.concatenate(model.jacobians(values, errors, free))
        missed = np.concatenate(errors)
        weights = weight / (_all(scales, errors) ** 2 + (missed / _CAUCHY) ** 2)
        weighted = rows * weights[:, None]
        covariance = np.linalg.inv(rows.T @ weighted + np.diag(prior))
        scores[:] = 0.0
        np.add.at(scores, stretch, weighted * missed[:, None])
        step = -covariance @ (weighted.T @ missed + prior * values) * free
        step *= min(1.0, 1.0 / max(np.abs(step / _MAX_STEP).max(), 1e-12))
        values = values + step
        if np.abs(step / _DONE_STEP).max() < 1.0:
            break
    sandwich = covariance @ (scores.T @ scores) @ covariance * _STRETCHES / (_STRETCHES - 1)
    sigmas = np.where(free, np.sqrt(np.maximum(np.diag(covariance), np.diag(sandwich))), np.inf)
    errors = model.errors(values)
    return Fit(values, sigmas, cost(scales, errors), float(np.median(np.abs(errors.across))))


def cost(scales: Scales, errors: Errors) -> float:
    """Mean of Cauchy's loss over all errors."""
    return float(np.log1p((np.concatenate(errors) / (_CAUCHY * _all(scales, errors))) ** 2).mean())


def scales_of(model: CalibrationModel, values: np.ndarray) -> Scales:
    """How far off matches are at `values`."""
    errors = model.errors(values)
    across = max(_MIN_SCALE_PX, 1.4826 * float(np.median(np.abs(errors.across))))
    if not model.has_depth:
        return Scales(across, np.zeros(0))
    only_depth = np.arange(COUNT) == DEPTH
    expected = np.hypot(across, _DEPTH_NOISE * model.jacobians(values, errors, only_depth).along[:, DEPTH])
    ratio = 1.4826 * float(np.median(np.abs(errors.along) / expected))
    return Scales(across, expected * max(1.0, ratio))


def free_values(model: CalibrationModel, chosen: set[str]) -> np.ndarray:
    """[8] bool: what is free where these of `focal`, `centre`, `offset`, `depth` are to be found.

    A principal point that is off looks much like a camera turned on its mount, which then may be turned, too.
    """
    free = np.zeros(COUNT, dtype=bool)
    free[FOCAL], free[CENTRE], free[MOUNT] = "focal" in chosen, "centre" in chosen, "centre" in chosen
    free[OFFSET] = "offset" in chosen and model.trajectory is not None
    free[DEPTH] = "depth" in chosen and model.has_depth
    return free


def _all(scales: Scales, errors: Errors) -> np.ndarray:
    return np.concatenate([np.full(len(errors.across), scales.across), scales.along])


def _start(model: CalibrationModel, free: np.ndarray) -> np.ndarray:
    values = np.zeros(COUNT)
    for index, grid in _STARTS.items():
        if not free[index]:
            continue
        costs = []
        for value in grid:
            tried = values.copy()
            tried[index] = value
            errors = model.errors(tried)
            costs.append(float(np.median(np.abs(errors.along if index == DEPTH else errors.across))))
        values[index] = grid[int(np.argmin(costs))]
    return values
