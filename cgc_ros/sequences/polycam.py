"""Polycam's raw export: keyframes/ with images/, cameras/ (JSON), depth/ (millimetres) and, after its own optimisation,
corrected_images/ and corrected_cameras/. Camera axes are ARKit's (y up, z backward).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import pinhole
from cgc_ros.sequences.image_files import FrameFiles, beside, find_image, natural_order
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.poses import OPENGL_AXES
from cgc_ros.sequences.text_files import read_json

_PAIRS = (("corrected_cameras", "corrected_images"), ("cameras", "images"), ("corrected_cameras", "images"))
_MICROSECONDS = 1000  # nanoseconds in one


def recognises(path: Path) -> bool:
    return _folders(path) is not None


def read(path: Path, *, depth_unit: float | None = None, rate_hz: float = 5.0) -> Sequence:
    """Open an export, or its keyframes/; corrected cameras are taken where they are. `depth_unit`: metres per unit
    (0.001); `rate_hz` makes stamps where cameras have none.
    """
    cameras, images = _folders(path) or (path / "cameras", path / "images")
    posed = PosedFiles(cameras, rate_hz)
    for file in sorted(cameras.glob("*.json"), key=lambda each: natural_order(each.name)):
        image = find_image(images, file.stem)
        try:
            document = read_json(file)
        except SequenceError as error:
            posed.leave_out(file.stem, error)
            continue
        stamp = document.get("timestamp")
        posed.add(
            file.stem,
            None if image is None else FrameFiles(image, beside(cameras.parent / "depth", file.stem)),
            _pose(document),
            partial(_intrinsics, document, file),
            stamp_ns=int(stamp) * _MICROSECONDS if isinstance(stamp, int) else None,
        )
    keyframes = cameras.parent.resolve()
    name = keyframes.parent.name if keyframes.name == "keyframes" else keyframes.name
    return posed.sequence(name, depth_unit=depth_unit, metric_scale=True)


def _folders(path: Path) -> tuple[Path, Path] | None:
    """The folders of cameras and images that belong together."""
    for root in (path / "keyframes", path):
        for cameras, images in _PAIRS:
            if (root / images).is_dir() and next((root / cameras).glob("*.json"), None):
                return root / cameras, root / images
    return None


def _pose(document: dict) -> np.ndarray | None:
    try:
        rows = [[float(document[f"t_{row}{column}"]) for column in range(4)] for row in range(3)]
    except (KeyError, TypeError, ValueError):
        return None
    return np.vstack([rows, [0.0, 0.0, 0.0, 1.0]]) * OPENGL_AXES


def _intrinsics(document: dict, file: Path) -> Intrinsics:
    try:
        size = (int(document["width"]), int(document["height"]))
        fx, fy, cx, cy = (float(document[key]) for key in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_intrinsics", f"{file} must hold width, height, fx, fy, cx and cy: {error!r}"
        ) from error
    return pinhole(size, fx, fy, cx, cy, file)
