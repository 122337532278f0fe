"""A calibration beside a recording whose format brings none: intrinsics.json, or a matrix in a text file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import SequenceError
from cgc_ros.sequences.folder import read_intrinsics
from cgc_ros.sequences.image_files import picture_size
from cgc_ros.sequences.text_files import read_matrix

_REMEDY = "put intrinsics.json or a 3x3 matrix in a .txt file beside the recording, or say --read intrinsics=FILE"
#: A principal point further off than this share of the image belongs to a picture of another size.
_MIDDLE = (0.2, 0.8)
_NAMED_FOR_IT = ("calib", "intrinsic", "camera")  # only such a file's four numbers are fx, fy, cx, cy


def find_intrinsics(
    folder: Path, image: Path, chosen: str | Path | None = None, default: Intrinsics | None = None
) -> Intrinsics:
    """The calibration for images like `image`: of the file `chosen`, else beside the recording, else `default`.

    Raises SequenceError with the remedy where there is none.
    """
    size = picture_size(image)
    if size is None:
        raise SequenceError("bad_image", f"{image} cannot be decoded: the file is damaged, export it again")
    if chosen is not None:
        return _read_chosen(Path(chosen).expanduser(), size)
    if (folder / "intrinsics.json").is_file():
        return read_intrinsics(folder / "intrinsics.json")[0]
    found = {file: camera for file in sorted(folder.glob("*.txt")) if (camera := _read(file, size)) is not None}
    if len(set(found.values())) > 1:
        names = ", ".join(file.name for file in found)
        raise SequenceError(
            "bad_intrinsics", f"{folder} has several calibrations ({names}): say --read intrinsics=FILE"
        )
    if found:
        return next(iter(found.values()))
    if default is not None:
        return default
    raise SequenceError("missing_calibration", f"{folder} brings no calibration: {_REMEDY}")


def pinhole(size: tuple[int, int], fx: float, fy: float, cx: float, cy: float, where: Path | str) -> Intrinsics:
    """Intrinsics without distortion of images of size (width, height); SequenceError where they describe no camera."""
    if not (np.isfinite([fx, fy, cx, cy]).all() and min(fx, fy, *size) > 0):
        raise SequenceError(
            "bad_intrinsics",
            f"{where}: focal lengths and size must be positive, all finite, got fx={fx:g}, fy={fy:g}, cx={cx:g}, "
            f"cy={cy:g} for {size[0]}x{size[1]}",
        )
    return Intrinsics(*size, float(fx), float(fy), float(cx), float(cy))


def focals_and_center(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a camera matrix K."""
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def matrix_intrinsics(matrix: np.ndarray, size: tuple[int, int], where: Path | str) -> Intrinsics:
    """Intrinsics of a camera matrix K [3, 3] (or the upper left of [3, 4], [4, 4]) for pictures of size (width,
    height).
    """
    fx, fy, cx, cy = focals_and_center(matrix)
    camera = pinhole(size, fx, fy, cx, cy, where)
    low, high = _MIDDLE
    if not (low < cx / size[0] < high and low < cy / size[1] < high):
        raise SequenceError(
            "bad_intrinsics",
            f"{where}: the principal point ({cx:g}, {cy:g}) lies far from the middle of {size[0]}x{size[1]} images, so "
            "it is of images of another size: write intrinsics.json with its own width and height",
        )
    return camera


def _read_chosen(file: Path, size: tuple[int, int]) -> Intrinsics:
    camera = _read(file, size, must=True)
    if camera is None:
        raise SequenceError("bad_intrinsics", f"{file} holds no 3x3 matrix and is no intrinsics.json: {_REMEDY}")
    return camera


def _read(file: Path, size: tuple[int, int], must: bool = False) -> Intrinsics | None:
    if not file.is_file():
        raise SequenceError("missing_file", f"{file} is no file: {_REMEDY}")
    if file.suffix == ".json":
        return read_intrinsics(file)[0]
    matrix = read_matrix(file)
    if matrix is not None and matrix.shape in ((3, 3), (3, 4), (4, 4)) and (must or _is_camera_matrix(matrix)):
        return matrix_intrinsics(matrix, size, file)
    if matrix is not None and matrix.shape == (1, 4) and (must or any(word in file.name for word in _NAMED_FOR_IT)):
        fx, fy, cx, cy = matrix[0]
        return matrix_intrinsics(np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), size, file)
    return None


def _is_camera_matrix(matrix: np.ndarray) -> bool:
    lower = (matrix[1, 0], matrix[2, 0], matrix[2, 1], matrix[0, 1])
    return not any(lower) and matrix[2, 2] == 1.0 and matrix[0, 0] > 1.0
