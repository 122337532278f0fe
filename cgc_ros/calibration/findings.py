"""What a check of a calibration says: in words, as JSON, and as a correction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cgc_ros.calibration.judgement import CANDIDATES, is_known
from cgc_ros.calibration.model import CENTRE_X, CENTRE_Y, DEPTH, FOCAL, OFFSET
from cgc_ros.calibration.recalibration import Recalibration
from cgc_ros.calibration.recording_check import CalibrationCheck
from cgc_ros.frame import Intrinsics

_NAMES = {"focal": "focal length", "centre": "principal point", "offset": "time offset", "depth": "depth scale"}
_REMEDIES = {
    "focal": "calibrate the camera again, at the focus and size of these images, or map with --calibrate",
    "centre": "calibrate the camera again, or map with --calibrate; cropped images need their own calibration",
    "offset": "stamp images and poses by one clock, or map with --calibrate",
    "depth": "correct the depth's unit (--read depth_unit=METRES), the node's depth_unit, or map with --calibrate",
}


@dataclass(frozen=True)
class CalibrationFinding:
    """One value. `state`: ok, optional (nothing tells of it) or missing (contradicted)."""

    group: str
    name: str
    state: str
    detail: str
    remedy: str
    given: list[float]
    estimated: list[float] | None
    sigma: list[float] | None
    contradicted: bool


def findings(check: CalibrationCheck) -> list[CalibrationFinding]:
    """A line for each value that can be judged; none without a judgement."""
    found, camera = check.judgement, check.camera
    if found is None or camera is None:
        return []
    lines = []
    for name in CANDIDATES:
        if (name == "offset" and not check.has_time) or (name == "depth" and not check.has_depth):
            continue
        given, estimated, sigma = _numbers(name, check, camera)
        wrong = name in found.contradicted
        known = is_known(name, found.sigmas, check.width)
        unit = {"focal": "px", "centre": "px", "offset": "s", "depth": "times"}[name]
        detail = f"given {_text(given)} {unit}, "
        detail += f"{_text(estimated, sigma)} {unit} fits" if known else "nothing tells: the camera moves too little"
        if known and not wrong:
            detail += ": no contradiction beyond doubt"
        lines.append(
            CalibrationFinding(
                "calibration",
                _NAMES[name],
                "missing" if wrong else "ok" if known else "optional",
                detail,
                _REMEDIES[name] if wrong else "",
                given,
                estimated if known else None,
                sigma if known else None,
                wrong,
            )
        )
    return lines


def recalibration(check: CalibrationCheck) -> Recalibration:
    """What is contradicted beyond doubt, corrected; nothing else."""
    if check.judgement is None or check.camera is None:
        return Recalibration()
    values = check.judgement.correction()
    scale = check.camera.width / check.width
    shift = (values[CENTRE_X] * scale / check.camera.fx, values[CENTRE_Y] * scale / check.camera.fy)
    return Recalibration(
        math.exp(values[FOCAL]), (float(shift[0]), float(shift[1])), float(values[OFFSET]), math.exp(values[DEPTH])
    )


def warnings(check: CalibrationCheck) -> list[str]:
    """A line for each value that is contradicted: the value, what fits, and what to do."""
    return [f"the {each.name}: {each.detail}: {each.remedy}" for each in findings(check) if each.contradicted]


def _numbers(name: str, check: CalibrationCheck, camera: Intrinsics) -> tuple[list[float], list[float], list[float]]:
    """Given, estimated and one standard deviation, at the size of the images."""
    assert check.judgement is not None
    values, sigmas = check.judgement.values, check.judgement.sigmas
    scale = camera.width / check.width
    if name == "focal":
        factor = math.exp(values[FOCAL])
        given = [camera.fx, camera.fy]
        return given, [each * factor for each in given], [float(each * factor * sigmas[FOCAL]) for each in given]
    if name == "centre":
        given = [camera.cx, camera.cy]
        shifts = [float(values[CENTRE_X]) * scale, float(values[CENTRE_Y]) * scale]
        moved = [one + other for one, other in zip(given, shifts, strict=True)]
        return given, moved, [float(sigmas[CENTRE_X]) * scale, float(sigmas[CENTRE_Y]) * scale]
    if name == "offset":
        return [0.0], [float(values[OFFSET])], [float(sigmas[OFFSET])]
    factor = math.exp(values[DEPTH])
    return [1.0], [factor], [float(factor * sigmas[DEPTH])]


def _text(values: list[float], sigma: list[float] | None = None) -> str:
    def one(value: float) -> str:
        return f"{value:.1f}" if abs(value) >= 20 else f"{value:.4g}"

    if sigma is None:
        return ", ".join(map(one, values))
    return ", ".join(f"{one(value)} ± {spread:.2g}" for value, spread in zip(values, sigma, strict=True))
