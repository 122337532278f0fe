"""Sequences whose frames are image files on disk, and how those files are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MILLIMETRE = 0.001


@dataclass(frozen=True)
class FrameFiles:
    """Where the pixels of one frame are; None where there are none."""

    image: Path
    depth: Path | None = None
    masks: Path | None = None
    instances: Path | None = None
    ignore: Path | None = None


class FileSequence(Sequence):
    """A sequence over one image file a frame. `depth_scale`: metres per unit of the stored depth."""

    def __init__(
        self, name: str, frames: list[FrameInfo], files: list[FrameFiles], *, depth_scale: float = MILLIMETRE, **options
    ):
        super().__init__(
            name,
            frames,
            has_depth=any(paths.depth for paths in files),
            has_masks=any(paths.masks for paths in files),
            has_ignore=any(paths.ignore for paths in files),
            **options,
        )
        self.files = tuple(files)
        self.depth_scale = depth_scale

    def load_image(self, index: int) -> np.ndarray:
        return read_image(self.files[index].image)

    def load_depth(self, index: int) -> np.ndarray | None:
        path = self.files[index].depth
        return None if path is None else read_depth(path, self.depth_scale)

    def load_masks(self, index: int) -> np.ndarray | None:
        path = self.files[index].masks
        return None if path is None else read_labels(path)

    def load_ignore(self, index: int) -> np.ndarray | None:
        path = self.files[index].ignore
        return None if path is None else read_labels(path) > 0

    def load_instances(self, index: int) -> np.ndarray | None:
        path = self.files[index].instances
        return None if path is None else read_labels(path)


def read_image(path: Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB. Orientation tags are ignored: calibrations are made on the pixels as stored."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)


def read_depth(path: Path, scale: float) -> np.ndarray:
    """[H, W] float32 metres, 0 where the file has no finite positive value. 16 bit or float images, or .npy."""
    if path.suffix == ".npy":
        values = _load_npy(path)
    else:
        values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype == np.uint8:
        raise SequenceError(
            "bad_depth",
            f"depth {path} is {_describe(values)}: "
            "store one channel, 16 bit (millimetres) or 32 bit float, not a picture of depth",
        )
    depth = values.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0.0))


def read_labels(path: Path) -> np.ndarray:
    """[H, W] int32 from an 8 or 16 bit one-channel image."""
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise SequenceError("bad_labels", f"label image {path} is {_describe(values)}: store one channel of 16 bit ids")
    return values.astype(np.int32)


def find_image(folder: Path, name: str) -> Path | None:
    """The file of a name that may lack its suffix."""
    path = folder / name
    if path.is_file():
        return path
    return next(
        (candidate for suffix in IMAGE_SUFFIXES if (candidate := path.with_name(path.name + suffix)).is_file()), None
    )


def beside(folder: Path, image_name: str) -> Path | None:
    """The .png (or .npy) in `folder` with an image's name."""
    return next(
        (path for suffix in (".png", ".npy") if (path := (folder / image_name).with_suffix(suffix)).is_file()), None
    )


def frame_name(image_name: str) -> str:
    """A name fit for an output file: images/left/0001.jpg -> left_0001 (a leading "images" says nothing)."""
    parts = [part for part in Path(image_name).with_suffix("").parts if part not in (".", "..", "/")]
    return "_".join(parts[1:] if len(parts) > 1 and parts[0].startswith("images") else parts)


def natural_order(name: str) -> tuple:
    """Sort key under which image9 comes before image10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def _read(path: Path, flags: int) -> np.ndarray:
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing: restore it, or remove its frame from the recording")
    array = cv2.imdecode(np.fromfile(path, np.uint8), flags) if path.stat().st_size else None
    if array is None:
        raise SequenceError(
            "bad_image", f"{path} cannot be decoded ({path.stat().st_size} bytes): the file is damaged, export it again"
        )
    return array


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SequenceError("bad_depth", f"{path} is not a readable .npy array: {error}") from error


def _describe(values: np.ndarray) -> str:
    return f"{'x'.join(map(str, values.shape))} {values.dtype}"
