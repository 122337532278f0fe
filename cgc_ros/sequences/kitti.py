"""KITTI odometry (cvlibs.net/datasets/kitti/eval_odometry.php) and folders like it: poses.txt with twelve numbers a
line, world from the left grey camera, image_N/, and calib.txt, whose P_N = K [I | b] also says where camera N sits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.calibration import find_intrinsics, matrix_intrinsics
from cgc_ros.sequences.image_files import FrameFiles, beside, images_in, picture_size
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import numbers, read_rows, read_text

_IMAGE_FOLDERS = ("image_2", "image_3", "image_0", "image_1", "images", "image", "rgb")
_DEPTH_UNIT = 1 / 256  # metres, of KITTI's depth images


def recognises(path: Path) -> bool:
    return _image_folder(path) is not None and _poses_file(path) is not None


def read(
    path: Path,
    *,
    image_folder: str | None = None,
    intrinsics: str | None = None,
    depth_unit: float | None = None,
    rate_hz: float = 10.0,
) -> Sequence:
    """Open a sequence's folder; its poses may lie in ../../poses/NAME.txt, as the benchmark has them.

    `image_folder`: image_3 instead of image_2, for one. `intrinsics`: a calibration's file instead of calib.txt.
    `depth_unit`: metres per unit of depth/ (1/256). `rate_hz` makes stamps where there is no times.txt.
    """
    folder, poses_file = _image_folder(path, image_folder), _poses_file(path) or path / "poses.txt"
    if folder is None:
        raise SequenceError("missing_file", f"{path / str(image_folder)} is no folder: image_folder= names one here")
    images = images_in(folder)
    if not images:
        raise SequenceError("empty", f"{folder} has no images: unpack the sequence's images there")
    projection = None if intrinsics else _projection(path / "calib.txt", folder.name)
    camera, cam0_from_camera = (
        (find_intrinsics(path, images[0], intrinsics), np.eye(4))
        if projection is None
        else _camera(projection, picture_size(images[0]), path / "calib.txt")
    )
    poses = [_pose(words) for _, words in read_rows(poses_file)]
    times = _times(path)
    posed = PosedFiles(poses_file, rate_hz)
    for index, image in enumerate(images):
        pose = poses[index] if index < len(poses) else None
        posed.add(
            image.name,
            FrameFiles(image, beside(path / "depth", image.name)),
            pose @ cam0_from_camera if pose is not None and np.isfinite(pose).all() and pose.size else pose,
            camera,
            stamp_ns=round(times[index] * 1e9) if index < len(times) else None,
        )
    if len(poses) != len(images):
        posed.warnings.append(f"{poses_file} has {len(poses)} poses, {folder.name}/ {len(images)} images")
    return posed.sequence(path.resolve().name, depth_scale=_DEPTH_UNIT, depth_unit=depth_unit, metric_scale=True)


def _image_folder(path: Path, chosen: str | None = None) -> Path | None:
    names = (chosen,) if chosen else _IMAGE_FOLDERS
    return next((path / name for name in names if (path / name).is_dir()), None)


def _poses_file(path: Path) -> Path | None:
    """poses.txt, or the benchmark's poses/NAME.txt, where its first line holds 12 numbers (or 16)."""
    resolved = path.resolve()
    for file in (path / "poses.txt", resolved.parent.parent / "poses" / f"{resolved.name}.txt"):
        if file.is_file():
            first = next((words for _, words in read_rows(file)), [])
            if len(first) in (12, 16) and numbers(first) is not None:
                return file
    return None


def _pose(words: list[str]) -> np.ndarray:
    values = numbers(words)
    if values is None or len(values) not in (12, 16):
        return np.empty((0, 0))
    return np.vstack([np.reshape(values[:12], (3, 4)), [0.0, 0.0, 0.0, 1.0]])


def _projection(file: Path, folder: str) -> np.ndarray | None:
    """P of the camera that a folder image_N shows, [3, 4]; None where calib.txt has none."""
    if not file.is_file():
        return None
    lines = dict(line.partition(":")[::2] for line in read_text(file).splitlines() if ":" in line)
    number = folder.rpartition("_")[2] if folder[-1].isdigit() else "2"
    for name in (f"P{number}", f"P_rect_0{number}", "P0"):
        values = numbers(lines.get(name, "").split())
        if values is not None and len(values) == 12:
            return np.reshape(values, (3, 4))
    return None


def _camera(projection: np.ndarray, size: tuple[int, int] | None, where: Path) -> tuple[Intrinsics, np.ndarray]:
    """Intrinsics, and the left grey camera from this one: X_N = X_0 + K^-1 p, with p the last column of P."""
    if size is None:
        raise SequenceError("bad_image", f"the first image beside {where} cannot be decoded: export it again")
    camera = matrix_intrinsics(projection, size, where)
    cam0_from_camera = np.eye(4)
    cam0_from_camera[:3, 3] = -np.linalg.solve(projection[:, :3], projection[:, 3])
    return camera, cam0_from_camera


def _times(path: Path) -> list[float]:
    file = path / "times.txt"
    if not file.is_file():
        return []
    values = [numbers(words[:1]) for _, words in read_rows(file)]
    if any(value is None for value in values):
        raise SequenceError("bad_list", f"{file} must hold one number, seconds, a line")
    return [value[0] for value in values if value is not None]
