"""nerfstudio's (and instant-ngp's) transforms.json: OpenGL camera axes, intrinsics global or per frame, optional depth.

Conventions (docs.nerf.studio, "Data conventions"): `transform_matrix` is camera to world with x right, y up, z
backward; `cx`, `cy` put the centre of the first pixel at (0.5, 0.5); depth files times `depth_unit_scale_factor`
(default 0.001) are in units of the poses.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from cgc_ros.frame import FrameError, Intrinsics, check_rigid
from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError, example_of, hold_out_every_eighth
from cgc_ros.sequences.image_files import (
    MILLIMETRE,
    FileSequence,
    FrameFiles,
    find_image,
    frame_name,
    natural_order,
    read_image,
)

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_FISHEYE = ("OPENCV_FISHEYE",)
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


def recognises(path: Path) -> bool:
    return _transforms_file(path) is not None


def read(path: Path, *, rate_hz: float = 5.0) -> Sequence:
    """Open a transforms.json or its folder. Frames play in the order of their file names; the format has no stamps,
    `rate_hz` makes them.
    """
    file = _transforms_file(path) or path
    document = _read_document(file)
    entries = sorted(document["frames"], key=lambda entry: natural_order(str(entry.get("file_path", ""))))
    warnings: list[str] = []
    frames: list[FrameInfo] = []
    without_depth: list[str] = []
    files, missing, broken = [], [], []
    for entry in entries:
        name = str(entry.get("file_path", ""))
        image = find_image(file.parent, name) if name else None
        if image is None:
            missing.append(name or "a frame without file_path")
            continue
        pose = _pose(entry, f"{file}, frame {name}")
        if pose is None:
            broken.append(name)
            continue
        depth = _depth_file(file.parent, entry, without_depth)
        stamp_ns = round(len(frames) / rate_hz * 1e9)
        frames.append(
            FrameInfo(frame_name(name), stamp_ns, pose, _intrinsics({**document, **entry}, image, file), held_out=False)
        )
        files.append(FrameFiles(image, depth))
    if missing:
        warnings.append(f"{len(missing)} of {len(entries)} frames have no image file ({example_of(missing)}): left out")
    if broken:
        warnings.append(f"{len(broken)} poses are not finite ({example_of(broken)}): left out")
    if without_depth:
        warnings.append(
            f"{len(without_depth)} depth files are missing ({example_of(without_depth)}): "
            "those frames play without depth"
        )
    if any("mask_path" in entry for entry in entries):
        warnings.append(
            "mask_path is left out: nerfstudio's masks say which pixels to train on, not which object they show"
        )
    has_depth = any(paths.depth for paths in files)
    return FileSequence(
        file.parent.resolve().name,
        hold_out_every_eighth(frames),
        files,
        depth_scale=float(document.get("depth_unit_scale_factor", MILLIMETRE)),
        metric_scale=True if has_depth else None,
        warnings=tuple(warnings),
    )


def _transforms_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".json" and path.stem.startswith("transforms") else None
    names = ("transforms.json", "transforms_train.json")
    return next((path / name for name in names if (path / name).is_file()), None)


def _read_document(file: Path) -> dict:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SequenceError("bad_json", f"{file} is not JSON: {error}") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(isinstance(entry, dict) for entry in frames):
        raise SequenceError("bad_json", f"{file} has no list `frames`: it is not a nerfstudio transforms.json")
    if not frames:
        raise SequenceError("empty", f"{file} lists no frames: process the recording again")
    return document


def _pose(entry: dict, where: str) -> np.ndarray | None:
    """world_from_camera in OpenCV axes; None where it is not finite."""
    try:
        pose = np.array(entry["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_poses", f"{where}: transform_matrix must be a 4x4 matrix of numbers: {error!r}"
        ) from error
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]])
    if pose.shape == (4, 4) and not np.isfinite(pose).all():
        return None
    try:
        check_rigid(pose)
    except FrameError as error:
        raise SequenceError("bad_poses", f"{where}: {error}") from error
    return pose @ _OPENGL_FROM_OPENCV


def _intrinsics(entry: dict, image: Path, file: Path) -> Intrinsics:
    model = str(entry.get("camera_model", "OPENCV")).upper()
    if model not in _FISHEYE + _PERSPECTIVE:
        raise SequenceError(
            "unknown_distortion",
            f"{file}: camera_model {model} is not supported ({', '.join(_PERSPECTIVE + _FISHEYE)} are): "
            "undistort the images",
        )
    try:
        if "w" not in entry or "h" not in entry:
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


def _depth_file(folder: Path, entry: dict, missing: list[str]) -> Path | None:
    name = entry.get("depth_file_path")
    if not name:
        return None
    path = folder / name
    if not path.is_file():
        missing.append(str(name))
        return None
    return path
