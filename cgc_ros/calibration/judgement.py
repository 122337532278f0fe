"""Which of a given calibration's values the matches contradict beyond doubt, and by what.

Values are set free one after the other, that which explains most first (forward selection): what is left over by a
wrong focal length is not laid at the principal point's door. Each must be many standard deviations from what is given,
of a size that matters, and explain a good part of the errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.calibration.estimator import Fit, Scales, cost, fit, free_values, scales_of
from cgc_ros.calibration.model import CENTRE, CENTRE_X, CENTRE_Y, COUNT, DEPTH, FOCAL, MOUNT, OFFSET, CalibrationModel

CANDIDATES = ("focal", "centre", "offset", "depth")
_SIGMAS = 5.0  # beyond doubt
#: Of the errors' cost, what a value must explain; a principal point also takes in what bad poses leave.
_MIN_GAIN = {"focal": 0.1, "centre": 0.25, "offset": 0.1, "depth": 0.1}
_MIN_FOCAL, _MIN_DEPTH = 0.02, 0.1  # shares
_MIN_CENTRE = 0.015  # of the image's width
_WIDTH = 640  # pixels, of images that errors in pixels are thought of
_MIN_OFFSET_S = 0.005
_MIN_OFFSET_PX = 1.0  # that the image moves by in an offset, as a median
_MAX_ERROR_PX = 3.0  # epipolar, with the best calibration: beyond, the poses are too bad to judge by
_UNKNOWN = {"focal": 0.1, "centre": 0.03, "offset": 0.1, "depth": 0.2}  # sigma (share, of the width, s, share) from
# which on nothing is known


@dataclass(frozen=True)
class Judgement:
    """What fits, and what of it contradicts what is given."""

    values: np.ndarray  # [8] of each candidate, the contradicted ones at their place
    sigmas: np.ndarray  # [8]
    contradicted: tuple[str, ...]
    error_given_px: float  # median epipolar error as given
    error_px: float  # and with what is contradicted corrected

    def correction(self) -> np.ndarray:
        """[8] values, those that are not contradicted as given."""
        return np.where(_parts(set(self.contradicted)), self.values, 0.0)


def judge(model: CalibrationModel, px_per_s: float) -> Judgement:
    """Find what is wrong. `px_per_s`: how fast the image moves, as a median."""
    candidates = [
        name
        for name in CANDIDATES
        if (name != "offset" or model.trajectory is not None) and (name != "depth" or model.has_depth)
    ]
    everything = free_values(model, set(candidates))
    scales = scales_of(model, np.zeros(COUNT))
    best = fit(model, scales, everything)
    scales = scales_of(model, best.values)
    width = float(np.median([each.width for each in model.views.intrinsics]))
    given = model.errors(np.zeros(COUNT))
    chosen: set[str] = set()
    known = Fit(np.zeros(COUNT), np.full(COUNT, np.inf), cost(scales, given), float(np.median(np.abs(given.across))))
    error_given = known.error_px
    while True:
        trials = {
            name: fit(model, scales, free_values(model, chosen | {name})) for name in candidates if name not in chosen
        }
        wrong = {
            name: trial.cost
            for name, trial in trials.items()
            if trial.cost < (1.0 - _MIN_GAIN[name]) * min(known.cost, _cost_of_smoothing(name, model, scales, trial))
            and _is_contradicted(name, trial, width, px_per_s)
        }
        if not wrong:
            break
        name = min(wrong, key=wrong.__getitem__)
        chosen.add(name)
        known = trials[name]
    if known.error_px > _MAX_ERROR_PX * width / _WIDTH:
        chosen.clear()
    kept = {name for name in chosen if _is_contradicted(name, known, width, px_per_s)}
    values, sigmas = known.values.copy(), known.sigmas.copy()
    for name, trial in trials.items():
        part = _parts({name})
        values[part], sigmas[part] = trial.values[part], trial.sigmas[part]
    return Judgement(values, sigmas, tuple(each for each in CANDIDATES if each in kept), error_given, known.error_px)


def _cost_of_smoothing(name: str, model: CalibrationModel, scales: Scales, trial: Fit) -> float:
    """Poses between the given ones are smoother than those, and fit better where poses are noisy: as well with the
    opposite offset.
    """
    if name != "offset":
        return np.inf
    opposite = trial.values.copy()
    opposite[OFFSET] *= -1.0
    return cost(scales, model.errors(opposite))


def is_known(name: str, sigmas: np.ndarray, width: float) -> bool:
    """Whether the matches tell anything about a candidate."""
    sigma = {
        "focal": sigmas[FOCAL],
        "centre": sigmas[CENTRE].max() / width,
        "offset": sigmas[OFFSET],
        "depth": sigmas[DEPTH],
    }[name]
    return bool(sigma < _UNKNOWN[name])


def _is_contradicted(name: str, found: Fit, width: float, px_per_s: float) -> bool:
    if not is_known(name, found.sigmas, width):
        return False
    part = {"focal": [FOCAL], "centre": [CENTRE_X, CENTRE_Y], "offset": [OFFSET], "depth": [DEPTH]}[name]
    values, sigmas = np.abs(found.values[part]), found.sigmas[part]
    least = {
        "focal": _MIN_FOCAL,
        "centre": _MIN_CENTRE * width,
        "offset": max(_MIN_OFFSET_S, _MIN_OFFSET_PX / max(px_per_s, 1e-9)),
        "depth": _MIN_DEPTH,
    }[name]
    return bool(((values > least) & (values > _SIGMAS * sigmas)).any())


def _parts(names: set[str]) -> np.ndarray:
    parts = np.zeros(COUNT, dtype=bool)
    parts[FOCAL], parts[CENTRE], parts[MOUNT] = "focal" in names, "centre" in names, "centre" in names
    parts[OFFSET], parts[DEPTH] = "offset" in names, "depth" in names
    return parts
