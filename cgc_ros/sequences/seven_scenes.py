"""7-Scenes (microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes) and what follows it: BundleFusion, 3RScan.

frame-N.color.png, frame-N.depth.png (millimetres, 65535 invalid) and frame-N.pose.txt (4x4, optical camera to world),
in one folder or in seq-N/ of one scene, which share a world. 3RScan and BundleFusion add a calibration, *info.txt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics
from cgc_ros.sequences.image_files import FrameFiles, find_image, natural_order
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import numbers, read_matrix, read_text

_NOMINAL = Intrinsics(640, 480, 585.0, 585.0, 320.0, 240.0)
_MILLIMETRES = 1000.0


def recognises(path: Path) -> bool:
    return bool(_folders(path))


def read(
    path: Path, *, intrinsics: str | None = None, depth_unit: float | None = None, rate_hz: float = 30.0
) -> Sequence:
    """Open a sequence's folder, or a scene's with seq-N/ in it.

    `intrinsics`: a calibration's file; without one the data set's nominal camera is used and told. `depth_unit`: metres
    per unit (0.001); `rate_hz` makes the stamps.
    """
    folders = _folders(path)
    colors = [(folder, color) for folder in folders for color in _colors(folder)]
    info = _read_info(folders[0])
    nominal = _camera_of(info) or _NOMINAL
    camera = find_intrinsics(path if len(folders) > 1 else folders[0], colors[0][1], intrinsics, nominal)
    posed = PosedFiles(path, rate_hz)
    if camera is _NOMINAL:
        posed.warnings.append(
            "no calibration lies here: the data set's nominal focal length of 585 is used, which is its depth camera's "
            "(say intrinsics=FILE)"
        )
    for folder, color in colors:
        stem = color.name.split(".color.")[0]
        name = color.name if len(folders) == 1 else f"{folder.name}/{color.name}"
        depth = find_image(folder, f"{stem}.depth") or next(iter(folder.glob(f"{stem}.depth.*")), None)
        posed.add(name.replace(".color.", "."), FrameFiles(color, depth), _pose(folder / f"{stem}.pose.txt"), camera)
    units = info.get("m_depthShift", [_MILLIMETRES])[0]
    return posed.sequence(path.resolve().name, depth_scale=1 / units, depth_unit=depth_unit, metric_scale=True)


def _folders(path: Path) -> list[Path]:
    candidates = [path, path / "sequence"]
    if path.is_dir():
        candidates += sorted((child for child in path.glob("seq*") if child.is_dir()), key=lambda each: each.name)
    found = [folder for folder in dict.fromkeys(candidates) if next(folder.glob("*.pose.txt"), None)]
    return [folder for folder in found if _colors(folder)]


def _colors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.color.*"), key=lambda file: natural_order(file.name))


def _pose(file: Path) -> np.ndarray | None:
    """4x4 of a file; None where it is missing."""
    if not file.is_file():
        return None
    matrix = read_matrix(file)
    return np.empty((0, 0)) if matrix is None else matrix


def _read_info(folder: Path) -> dict[str, list[float]]:
    """`name = numbers` of *info.txt; empty where there is none."""
    file = next(iter(sorted(folder.glob("*info.txt"))), None)
    lines = [] if file is None else read_text(file).splitlines()
    values = {name.strip(): numbers(value.split()) for name, equals, value in (line.partition("=") for line in lines)}
    return {name: value for name, value in values.items() if value}


def _camera_of(info: dict[str, list[float]]) -> Intrinsics | None:
    matrix = info.get("m_calibrationColorIntrinsic", [])
    if len(matrix) != 16 or not ("m_colorWidth" in info and "m_colorHeight" in info):
        return None
    size = (int(info["m_colorWidth"][0]), int(info["m_colorHeight"][0]))
    if not (matrix[0] > 0 and matrix[5] > 0):
        raise SequenceError("bad_intrinsics", f"m_calibrationColorIntrinsic {matrix} has no positive focal lengths")
    return Intrinsics(*size, matrix[0], matrix[5], matrix[2], matrix[6])
