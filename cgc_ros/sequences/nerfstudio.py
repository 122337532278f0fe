"""nerfstudio's (and instant-ngp's) transforms.json: OpenGL camera axes, intrinsics global or per frame, optional depth.

Conventions (docs.nerf.studio, "Data conventions"): `transform_matrix` is camera to world with x right, y up, z
backward; `cx`, `cy` put the centre of the first pixel at (0.5, 0.5); depth files times `depth_unit_scale_factor`
(default 0.001) are in units of the poses.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError, example_of
from cgc_ros.sequences.depth_files import MILLIMETRE
from cgc_ros.sequences.image_files import FrameFiles, find_image, natural_order, read_image
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.poses import OPENGL_AXES
from cgc_ros.sequences.text_files import find_file, read_json

_FISHEYE = ("OPENCV_FISHEYE",)
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


def recognises(path: Path) -> bool:
    return _transforms_file(path) is not None


def read(path: Path, *, rate_hz: float = 5.0, depth_unit: float | None = None) -> Sequence:
    """Open a transforms.json or its folder. Frames play in the order of their file names; the format has no stamps,
    `rate_hz` makes them. `depth_unit`: metres per unit of its depth files, instead of depth_unit_scale_factor.
    """
    file = _transforms_file(path) or path / "transforms.json"
    document = _read_document(file)
    entries = sorted(document["frames"], key=lambda entry: natural_order(str(entry.get("file_path", ""))))
    posed = PosedFiles(file, rate_hz)
    lacking: dict[str, list[str]] = {"depth_file_path": [], "mask_path": []}
    has_depth = False
    for entry in entries:
        name = str(entry.get("file_path", ""))
        image = find_image(file.parent, name) if name else None
        files = None
        if image is not None:
            depth, keep = (_optional_file(file.parent, entry, key, lacking) for key in lacking)
            files = FrameFiles(image, depth, keep=keep)
            has_depth = has_depth or depth is not None
        posed.add(
            name or "a frame without file_path",
            files,
            _pose(entry),
            partial(_intrinsics, {**document, **entry}, image, file),
        )
    for key, names in lacking.items():
        if names:
            posed.warnings.append(
                f"{len(names)} files of {key} are missing ({example_of(names)}): those frames play without"
            )
    scale = _depth_scale(document, file)
    return posed.sequence(
        file.parent.resolve().name,
        depth_scale=scale,
        float_depth_scale=scale,
        depth_unit=depth_unit,
        metric_scale=True if has_depth else None,
    )


def _transforms_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".json" and path.stem.startswith("transforms") else None
    names = ("transforms.json", "transforms_train.json")
    return next((path / name for name in names if (path / name).is_file()), None)


def _read_document(file: Path) -> dict:
    document = read_json(file)
    frames = document.get("frames")
    if not isinstance(frames, list) or not all(isinstance(entry, dict) for entry in frames):
        raise SequenceError("bad_json", f"{file} has no list `frames`: it is not a nerfstudio transforms.json")
    if not frames:
        raise SequenceError("empty", f"{file} lists no frames: process the recording again")
    return document


def _depth_scale(document: dict, file: Path) -> float:
    value = document.get("depth_unit_scale_factor", MILLIMETRE)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise SequenceError("bad_json", f"{file}: depth_unit_scale_factor {value!r} is no number") from error


def _pose(entry: dict) -> np.ndarray | None:
    """world_from_camera in OpenCV axes as stored; a matrix of another shape where there are not 12 or 16 numbers."""
    if "transform_matrix" not in entry:
        return None
    try:
        pose = np.array(entry["transform_matrix"], dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty((0, 0))
    return pose * OPENGL_AXES if pose.shape in ((3, 4), (4, 4)) else pose


def _intrinsics(entry: dict, image: Path | None, file: Path) -> Intrinsics:
    model = str(entry.get("camera_model", "OPENCV")).upper()
    if model not in _FISHEYE + _PERSPECTIVE:
        raise SequenceError(
            "unknown_distortion",
            f"{file}: camera_model {model} is not supported ({', '.join(_PERSPECTIVE + _FISHEYE)} are): "
            "undistort the images",
        )
    try:
        if image is not None and ("w" not in entry or "h" not in entry):
            entry["h"], entry["w"] = read_image(image).shape[:2]
        width, height = int(entry["w"]), int(entry["h"])
        fx = float(entry["fl_x"]) if "fl_x" in entry else width / 2 / math.tan(float(entry["camera_angle_x"]) / 2)
        fy = float(entry.get("fl_y", fx))
        if "fl_y" not in entry and "camera_angle_y" in entry:
            fy = height / 2 / math.tan(float(entry["camera_angle_y"]) / 2)
        cx, cy = float(entry.get("cx", width / 2)) - 0.5, float(entry.get("cy", height / 2)) - 0.5

        def coefficients(*names: str) -> tuple[float, ...]:
            return tuple(float(entry.get(name, 0.0)) for name in names)

        if model in _FISHEYE:
            return Intrinsics(width, height, fx, fy, cx, cy, "equidistant", coefficients("k1", "k2", "k3", "k4"))
        if any(coefficients("k4")):
            raise SequenceError(
                "unknown_distortion",
                f"{file}: k4 is set, which {model} has not: say camera_model OPENCV_FISHEYE, or remove it",
            )
        return Intrinsics(width, height, fx, fy, cx, cy, "plumb_bob", coefficients("k1", "k2", "p1", "p2", "k3"))
    except KeyError as error:
        raise SequenceError(
            "bad_intrinsics", f"{file} has neither fl_x nor camera_angle_x: add the camera's focal length"
        ) from error
    except (TypeError, ValueError) as error:
        if isinstance(error, SequenceError):
            raise
        raise SequenceError(
            "bad_intrinsics", f"{file}: intrinsics hold something that is no number: {error}"
        ) from error


def _optional_file(folder: Path, entry: dict, key: str, lacking: dict[str, list[str]]) -> Path | None:
    name = entry.get(key)
    if not name:
        return None
    path = find_file(folder, str(name))
    if path is None:
        lacking[key].append(str(name))
    return path
