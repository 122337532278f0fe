"""COLMAP sparse models, text and binary: cameras and images (points are not needed).

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
from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError, example_of, hold_out_every_eighth
from cgc_ros.sequences.image_files import FileSequence, FrameFiles, beside, frame_name, natural_order


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
_MODEL_FOLDERS = ("", "sparse/0", "sparse", "colmap/sparse/0", "dense/sparse")


def recognises(path: Path) -> bool:
    return _model_folder(path) is not None


def read(path: Path, *, image_folder: str | Path | None = None, rate_hz: float = 5.0) -> Sequence:
    """Open a model folder or the project above it. Frames play in the order of their names; `rate_hz` makes their
    stamps.

    `image_folder`: where the images are; by default the first `images` folder at or above the model that has one of
    them.
    """
    model = _model_folder(path) or path
    suffix = ".bin" if (model / "images.bin").is_file() else ".txt"
    try:
        cameras = (
            _read_cameras_bin(model / "cameras.bin") if suffix == ".bin" else _read_cameras_txt(model / "cameras.txt")
        )
        images = _read_images_bin(model / "images.bin") if suffix == ".bin" else _read_images_txt(model / "images.txt")
    except (struct.error, UnicodeDecodeError) as error:
        raise SequenceError(
            "truncated", f"the {suffix} files of {model} end too early or are damaged ({error}): export the model again"
        ) from error
    if not images:
        raise SequenceError(
            "empty", f"{model / ('images' + suffix)} holds no image: the reconstruction registered none"
        )
    images.sort(key=lambda image: natural_order(image.name))
    folder = _image_folder(model, [image.name for image in images], image_folder)

    frames: list[FrameInfo] = []
    files, missing, broken = [], [], []
    for image in images:
        if image.camera_id not in cameras:
            raise SequenceError(
                "bad_intrinsics",
                f"{model}: image {image.name} has camera {image.camera_id}, which cameras{suffix} lacks",
            )
        if not (folder / image.name).is_file():
            missing.append(image.name)
        elif (pose := image.world_from_camera()) is None:
            broken.append(image.name)
        else:
            stamp_ns = round(len(frames) / rate_hz * 1e9)
            frames.append(FrameInfo(frame_name(image.name), stamp_ns, pose, cameras[image.camera_id], held_out=False))
            files.append(FrameFiles(folder / image.name, masks=beside(folder.parent / "masks", image.name)))
    warnings = []
    if missing:
        warnings.append(f"{len(missing)} of {len(images)} images are not in {folder} ({example_of(missing)}): left out")
    if broken:
        warnings.append(f"{len(broken)} poses are not finite ({example_of(broken)}): left out")
    name = next(
        (
            part.name
            for part in (model.resolve(), *model.resolve().parents)
            if part.name not in ("0", "sparse", "colmap", "dense")
        ),
        "colmap",
    )
    return FileSequence(name, hold_out_every_eighth(frames), files, metric_scale=None, warnings=tuple(warnings))


@dataclass(frozen=True)
class _Image:
    name: str
    camera_id: int
    quaternion_wxyz: tuple[float, ...]  # camera_from_world
    translation: tuple[float, ...]

    def world_from_camera(self) -> np.ndarray | None:
        if not (np.isfinite([*self.quaternion_wxyz, *self.translation]).all() and any(self.quaternion_wxyz)):
            return None
        w, x, y, z = self.quaternion_wxyz
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        camera_from_world[:3, 3] = self.translation
        return np.linalg.inv(camera_from_world)


def _model_folder(path: Path) -> Path | None:
    for folder in (path / name for name in _MODEL_FOLDERS):
        for suffix in (".bin", ".txt"):
            if (folder / f"cameras{suffix}").is_file() and (folder / f"images{suffix}").is_file():
                return folder
    return None


def _image_folder(model: Path, names: list[str], chosen: str | Path | None) -> Path:
    folders = (
        [Path(chosen)] if chosen else [folder / "images" for folder in (model.resolve(), *model.resolve().parents[:3])]
    )
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    raise SequenceError(
        "missing_file",
        f"none of the {len(names)} images of {model} ({names[0]}, ...) is in {', '.join(map(str, folders))}: "
        "say image_folder=",
    )


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


def _read_images_txt(file: Path) -> list[_Image]:
    """Two lines an image; the second, its points, may be empty."""
    images, lines = [], _lines(file, keep_empty=True)
    for number, line in lines:
        if not line:
            continue
        try:
            _, w, x, y, z, tx, ty, tz, camera_id, name = line.split(maxsplit=9)
            images.append(
                _Image(name, int(camera_id), tuple(map(float, (w, x, y, z))), tuple(map(float, (tx, ty, tz))))
            )
        except ValueError as error:
            raise SequenceError(
                "bad_poses", f"{file}, line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME: {error}"
            ) from error
        next(lines, None)
    return images


def _lines(file: Path, keep_empty: bool = False):
    with open(file, encoding="utf-8") as text:
        for number, line in enumerate(text, start=1):
            line = line.strip()
            if not line.startswith("#") and (line or keep_empty):
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


def _read_images_bin(file: Path) -> list[_Image]:
    data, images = _Binary(file), []
    for _ in range(data.read("Q")[0]):
        _, *pose, camera_id = data.read("i7di")
        name = data.read_string()
        data.skip(24 * data.read("Q")[0])  # x, y, point id of each observation
        images.append(_Image(name, camera_id, tuple(pose[:4]), tuple(pose[4:])))
    return images
