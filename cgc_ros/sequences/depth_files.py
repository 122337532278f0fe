"""Depth images: 16 bit or float files, .npy and OpenEXR."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cgc_ros.sequences.base import SequenceError

MILLIMETRE = 0.001
_SATURATED = np.iinfo(np.uint16).max


def read_depth(path: Path, scale: float = MILLIMETRE, float_scale: float = 1.0) -> np.ndarray:
    """[H, W] float32 metres, 0 where the file has no finite positive value, or 65535 in 16 bit.

    `scale`: metres per unit of integers, `float_scale`: of floats.
    """
    return metric_depth(_READERS.get(path.suffix.lower(), _read_picture)(path), path, scale, float_scale)


def metric_depth(values: np.ndarray, path: Path, scale: float, float_scale: float) -> np.ndarray:
    """`read_depth` of pixels that were read from `path`."""
    if values.ndim == 3 and values.dtype.kind == "f":
        values = values[..., 0]  # OpenEXR pictures repeat it in every channel
    if values.ndim != 2 or values.dtype == np.uint8 or values.dtype.kind not in "uif":
        raise SequenceError(
            "bad_depth",
            f"depth {path} is {describe(values)}: "
            "store one channel, 16 bit (millimetres) or 32 bit float (metres), not a picture of depth",
        )
    depth = values.astype(np.float32) * np.float32(float_scale if values.dtype.kind == "f" else scale)
    valid = np.isfinite(depth) & (depth > 0)
    if values.dtype == np.uint16:
        valid &= values != _SATURATED
    return np.where(valid, depth, np.float32(0.0))


def read_pixels(path: Path, flags: int) -> np.ndarray:
    """An image file as OpenCV decodes it."""
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing: restore it, or remove its frame from the recording")
    array = cv2.imdecode(np.fromfile(path, np.uint8), flags) if path.stat().st_size else None
    if array is None:
        raise SequenceError(
            "bad_image", f"{path} cannot be decoded ({path.stat().st_size} bytes): the file is damaged, export it again"
        )
    return array


def describe(values: np.ndarray) -> str:
    """Shape and type, for messages."""
    return f"{'x'.join(map(str, values.shape))} {values.dtype}"


def _read_picture(path: Path) -> np.ndarray:
    return read_pixels(path, cv2.IMREAD_UNCHANGED)


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SequenceError("bad_depth", f"{path} is not a readable .npy array: {error}") from error


def _read_exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        raise SequenceError("missing_package", f"{path} needs the package openexr: pip install openexr") from error
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            name = next((name for name in ("Z", "R", "Y", "D") if name in channels), next(iter(channels)))
            return np.asarray(channels[name].pixels)
    except (RuntimeError, OSError, ValueError, StopIteration) as error:
        raise SequenceError("bad_depth", f"{path} is no readable OpenEXR image: {error}") from error


_READERS = {".npy": _read_npy, ".exr": _read_exr}
