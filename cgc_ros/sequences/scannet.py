"""ScanNet as its SensReader exports it, and folders like it: color/N.jpg, depth/N.png (millimetres), pose/N.txt (4x4,
-inf where tracking was lost) and intrinsic/intrinsic_color.txt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics, focals_and_center, pinhole
from cgc_ros.sequences.image_files import FrameFiles, beside, images_in, picture_size
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import read_matrix

_COLOR_SIZE = (
    1296,
    968,
)  # of ScanNet's own colour images, which its intrinsics are for, however small they are exported
_CALIBRATIONS = ("intrinsic/intrinsic_color.txt", "intrinsic_color.txt", "intrinsics_color.txt")
_COLORS, _POSES = ("color", "rgb"), ("pose", "poses")
_MAX_OFFSET = 0.1  # of a size: how far a principal point lies from its middle


def recognises(path: Path) -> bool:
    colors, poses = _folder(path, _COLORS), _folder(path, _POSES)
    return colors is not None and poses is not None and next(poses.glob("*.txt"), None) is not None


def read(
    path: Path, *, intrinsics: str | None = None, depth_unit: float | None = None, rate_hz: float = 30.0
) -> Sequence:
    """Open an exported scan. `intrinsics`: a calibration's file instead of its own; `depth_unit`: metres per unit
    (0.001); `rate_hz` makes the stamps.
    """
    colors, pose_folder = _folder(path, _COLORS) or path / "color", _folder(path, _POSES) or path / "pose"
    images = images_in(colors)
    if not images:
        raise SequenceError("empty", f"{colors} has no images: export the scan with its colour images")
    own = next((path / name for name in _CALIBRATIONS if (path / name).is_file()), None)
    camera = None if intrinsics or own is None else _scaled_down(own, images[0])
    camera = camera or find_intrinsics(path, images[0], intrinsics or own)
    poses = {file.stem: file for file in pose_folder.glob("*.txt")}
    by_number = {int(stem): file for stem, file in poses.items() if stem.isdigit()}
    posed = PosedFiles(pose_folder, rate_hz)
    for image in images:
        file = poses.get(image.stem) or by_number.get(int(image.stem) if image.stem.isdigit() else -1)
        matrix = None if file is None else read_matrix(file)
        pose = np.empty((0, 0)) if file is not None and matrix is None else matrix
        posed.add(image.name, FrameFiles(image, beside(path / "depth", image.name)), pose, camera)
    return posed.sequence(path.resolve().name, depth_unit=depth_unit, metric_scale=True)


def _folder(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _scaled_down(file: Path, image: Path) -> Intrinsics | None:
    """The camera at ScanNet's own size, where its matrix fits that better than the exported image."""
    matrix, size = read_matrix(file), picture_size(image)
    if matrix is None or matrix.shape not in ((3, 3), (3, 4), (4, 4)) or size == _COLOR_SIZE:
        return None
    if any(abs(matrix[axis, 2] / _COLOR_SIZE[axis] - 0.5) > _MAX_OFFSET for axis in (0, 1)):
        return None
    return pinhole(_COLOR_SIZE, *focals_and_center(matrix), file)
