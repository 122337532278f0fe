"""Replica as rendered for NICE-SLAM: results/frameN.jpg, results/depthN.png, traj.txt (4x4 a line, optical camera to
world) and cam_params.json in the scene's folder or above it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics, pinhole
from cgc_ros.sequences.image_files import FrameFiles, beside, images_in
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import numbers, read_json, read_rows

_DEPTH_UNITS = 6553.5  # per metre
_CAMERA = Intrinsics(1200, 680, 600.0, 600.0, 599.5, 339.5)


def recognises(path: Path) -> bool:
    return (path / "traj.txt").is_file() and (path / "results").is_dir()


def read(
    path: Path, *, intrinsics: str | None = None, depth_unit: float | None = None, rate_hz: float = 30.0
) -> Sequence:
    """Open a scene's folder. `intrinsics`: a calibration's file instead of cam_params.json; `depth_unit`: metres per
    unit, instead of the scale there; `rate_hz` makes the stamps.
    """
    images = [image for image in images_in(path / "results") if not image.name.startswith("depth")]
    if not images:
        raise SequenceError("empty", f"{path / 'results'} has no frame*.jpg: render or unpack the scene there")
    poses = [_pose(words) for _, words in read_rows(path / "traj.txt")]
    parameters = next(
        (file for folder in (path, path.resolve().parent) if (file := folder / "cam_params.json").is_file()), None
    )
    posed = PosedFiles(path / "traj.txt", rate_hz)
    camera, units = (_CAMERA, _DEPTH_UNITS) if parameters is None else _read_parameters(parameters)
    camera = find_intrinsics(path, images[0], intrinsics, camera)
    if parameters is None and camera is _CAMERA:
        posed.warnings.append("no cam_params.json lies here: Replica's own camera and depth of 1/6553.5 m are used")
    for position, image in enumerate(images):
        digits = re.findall(r"\d+", image.stem)
        number = int(digits[-1]) if digits and len(images) != len(poses) else position
        depth = image.name.replace("frame", "depth").replace("rgb", "depth")
        posed.add(
            image.name,
            FrameFiles(image, None if depth == image.name else beside(path / "results", depth)),
            poses[number] if number < len(poses) else None,
            camera,
            stamp_ns=round(number / rate_hz * 1e9),
        )
    return posed.sequence(path.resolve().name, depth_scale=1 / units, depth_unit=depth_unit, metric_scale=True)


def _pose(words: list[str]) -> np.ndarray:
    values = numbers(words)
    return np.reshape(values, (-1, 4)) if values is not None and len(values) in (12, 16) else np.empty((0, 0))


def _read_parameters(file: Path) -> tuple[Intrinsics, float]:
    document = read_json(file)
    camera = document.get("camera", document)
    try:
        size = (int(camera["w"]), int(camera["h"]))
        fx, fy, cx, cy = (float(camera[key]) for key in ("fx", "fy", "cx", "cy"))
        units = float(camera.get("scale", _DEPTH_UNITS))
    except (KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_intrinsics", f"{file} must hold w, h, fx, fy, cx, cy and scale under `camera`: {error!r}"
        ) from error
    if not units > 0:
        raise SequenceError("bad_intrinsics", f"{file}: scale must be positive, units of depth per metre: {units:g}")
    return pinhole(size, fx, fy, cx, cy, file), units
