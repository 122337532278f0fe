"""The files of a COLMAP sparse model, text and binary: cameras and images (points are not needed).

Formats after colmap.github.io/format.html: an image's pose is camera_from_world with a w-first quaternion, and the
centre of the first pixel lies at (0.5, 0.5), so that principal points move by half a pixel on the way to OpenCV's
convention.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import SequenceError
from cgc_ros.sequences.text_files import numbers, read_text


@dataclass(frozen=True)
class _Model:
    """How a COLMAP camera model lists its parameters."""

    name: str
    focals: int  # 1: f; 2: fx, fy
    coefficients: int
    distortion_model: str  # "" where cgc_ros has no equivalent

    @property
    def parameters(self) -> int:
        return self.focals + 2 + self.coefficients


#: By the id that the binary format uses (colmap/src/colmap/sensor/models.h).
_MODELS = {
    0: _Model("SIMPLE_PINHOLE", 1, 0, "none"),
    1: _Model("PINHOLE", 2, 0, "none"),
    2: _Model("SIMPLE_RADIAL", 1, 1, "plumb_bob"),  # k1
    3: _Model("RADIAL", 1, 2, "plumb_bob"),  # k1 k2
    4: _Model("OPENCV", 2, 4, "plumb_bob"),  # k1 k2 p1 p2
    5: _Model("OPENCV_FISHEYE", 2, 4, "equidistant"),
    6: _Model("FULL_OPENCV", 2, 8, "rational_polynomial"),  # k1 k2 p1 p2 k3 k4 k5 k6
    7: _Model("FOV", 2, 1, ""),
    8: _Model("SIMPLE_RADIAL_FISHEYE", 1, 1, "equidistant"),
    9: _Model("RADIAL_FISHEYE", 1, 2, "equidistant"),
    10: _Model("THIN_PRISM_FISHEYE", 2, 8, ""),
}
_MODEL_IDS = {model.name: model_id for model_id, model in _MODELS.items()}
SUFFIXES = (".bin", ".txt")


def is_model(folder: Path) -> bool:
    """Whether a folder holds the files of a sparse model."""
    return any(
        (folder / f"cameras{suffix}").is_file() and (folder / f"images{suffix}").is_file() for suffix in SUFFIXES
    )


def read_model(folder: Path) -> tuple[dict[int, Intrinsics], list[ColmapImage]]:
    """Cameras by id, and images in the file's order. Raises SequenceError."""
    binary = (folder / "images.bin").is_file() and (folder / "cameras.bin").is_file()
    suffix = ".bin" if binary else ".txt"
    try:
        if binary:
            return _read_cameras_bin(folder / "cameras.bin"), _read_images_bin(folder / "images.bin")
        return _read_cameras_txt(folder / "cameras.txt"), _read_images_txt(folder / "images.txt")
    except (struct.error, UnicodeDecodeError) as error:
        raise SequenceError(
            "truncated",
            f"the {suffix} files of {folder} end too early or are damaged ({error}): export the model again",
        ) from error


@dataclass(frozen=True)
class ColmapImage:
    """An image of a model."""

    name: str
    camera_id: int
    quaternion_wxyz: tuple[float, ...]  # camera_from_world
    translation: tuple[float, ...]

    def world_from_camera(self) -> np.ndarray:
        """[4, 4]; NaN where it was not registered."""
        if not (np.isfinite([*self.quaternion_wxyz, *self.translation]).all() and any(self.quaternion_wxyz)):
            return np.full((4, 4), np.nan)
        w, x, y, z = self.quaternion_wxyz
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        camera_from_world[:3, 3] = self.translation
        return np.linalg.inv(camera_from_world)


def _intrinsics(model_id: int, width: int, height: int, values: tuple[float, ...], where: str) -> Intrinsics:
    model = _MODELS.get(model_id)
    if model is None or not model.distortion_model:
        supported = ", ".join(known.name for known in _MODELS.values() if known.distortion_model)
        raise SequenceError(
            "unknown_distortion",
            f"{where}: camera model {model.name if model else model_id} is not supported ({supported} are): "
            "run `colmap image_undistorter` and open its output",
        )
    if len(values) != model.parameters:
        raise SequenceError(
            "bad_intrinsics", f"{where}: {model.name} takes {model.parameters} parameters, got {len(values)}"
        )
    fx, fy = values[0], values[model.focals - 1]
    cx, cy = values[model.focals : model.focals + 2]
    coefficients = values[model.focals + 2 :]
    if model.distortion_model in ("plumb_bob", "equidistant"):
        coefficients = (*coefficients, 0.0, 0.0, 0.0)[:4]
    return Intrinsics(width, height, fx, fy, cx - 0.5, cy - 0.5, model.distortion_model, coefficients)


def _read_cameras_txt(file: Path) -> dict[int, Intrinsics]:
    cameras = {}
    for number, line in _lines(file):
        where = f"{file}, line {number}"
        try:
            camera_id, model, width, height, *values = line.split()
            cameras[int(camera_id)] = _intrinsics(
                _MODEL_IDS.get(model, model), int(width), int(height), tuple(map(float, values)), where
            )
        except ValueError as error:
            if isinstance(error, SequenceError):
                raise
            raise SequenceError(
                "bad_intrinsics", f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS: {error}"
            ) from error
    return cameras


def _read_images_txt(file: Path) -> list[ColmapImage]:
    """An image's line and then its points, whose line is empty or, in files that were tidied up, not there."""
    images = []
    after_image = False
    for number, line in _lines(file):
        words = line.split()
        if after_image and len(words) % 3 == 0 and numbers(words) is not None:
            after_image = False
            continue
        try:
            _, w, x, y, z, tx, ty, tz, camera_id, name = line.split(maxsplit=9)
            images.append(
                ColmapImage(name, int(camera_id), tuple(map(float, (w, x, y, z))), tuple(map(float, (tx, ty, tz))))
            )
        except ValueError as error:
            raise SequenceError(
                "bad_poses", f"{file}, line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME: {error}"
            ) from error
        after_image = True
    return images


def _lines(file: Path):
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


class _Binary:
    """Little-endian values off a file's bytes; struct.error at its end."""

    def __init__(self, file: Path):
        self._bytes, self._offset = file.read_bytes(), 0

    def read(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self._bytes, self._offset)
        self._offset += struct.calcsize("<" + layout)
        return values

    def skip(self, size: int) -> None:
        self._offset += size
        if self._offset > len(self._bytes):
            raise struct.error(f"{self._offset - len(self._bytes)} bytes are missing")

    def read_string(self) -> str:
        end = self._bytes.find(b"\0", self._offset)
        if end < 0:
            raise struct.error("an image's name has no end")
        text = self._bytes[self._offset : end].decode()
        self._offset = end + 1
        return text


def _read_cameras_bin(file: Path) -> dict[int, Intrinsics]:
    data, cameras = _Binary(file), {}
    for _ in range(data.read("Q")[0]):
        camera_id, model_id, width, height = data.read("iiQQ")
        count = _MODELS[model_id].parameters if model_id in _MODELS else 0
        cameras[camera_id] = _intrinsics(model_id, width, height, data.read(f"{count}d"), f"{file}, camera {camera_id}")
    return cameras


def _read_images_bin(file: Path) -> list[ColmapImage]:
    data, images = _Binary(file), []
    for _ in range(data.read("Q")[0]):
        _, *pose, camera_id = data.read("i7di")
        name = data.read_string()
        data.skip(24 * data.read("Q")[0])  # x, y, point id of each observation
        images.append(ColmapImage(name, camera_id, tuple(pose[:4]), tuple(pose[4:])))
    return images
