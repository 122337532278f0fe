"""The pixels of an image message as they are stored, by numpy and OpenCV."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.messages.encodings import Encoding
from cgc_ros.messages.image_integrity import check_image_file, check_layout

NATIVE_BIG_ENDIAN = sys.byteorder == "big"


class PixelReader(Protocol):
    """Takes pixels out of sensor_msgs messages. The arrays may be views of the message."""

    def pixels(self, message, encoding: Encoding) -> np.ndarray:
        """[H, W] or [H, W, C] of an Image in native byte order, as stored. FrameError: bad_image, truncated_image."""
        ...

    def file(self, message) -> np.ndarray:
        """A CompressedImage's JPEG or PNG as stored: [H, W] grey, [H, W, 3] BGR or [H, W, 4] BGRA. FrameError as
        `pixels`.
        """
        ...


class NumpyReader:
    """The reader that works everywhere."""

    def pixels(self, message, encoding: Encoding) -> np.ndarray:
        """As PixelReader says."""
        rows = native_rows(message, encoding).view(encoding.dtype)
        return rows if encoding.channels == 1 else rows.reshape(message.height, message.width, encoding.channels)

    def file(self, message) -> np.ndarray:
        """As PixelReader says."""
        return decoded_file(np.frombuffer(message.data, dtype=np.uint8), message.format)


NUMPY_READER = NumpyReader()


@dataclass(frozen=True)
class StoredImage:
    """The fields of an Image that say how its pixels are stored. An Image itself would copy the data."""

    height: int
    width: int
    encoding: str
    is_bigendian: bool
    step: int
    data: np.ndarray


def decoded_file(data: np.ndarray, name: str) -> np.ndarray:
    """JPEG or PNG data [bytes] uint8 as stored, whatever its orientation tag says: a camera's pixels are where its
    calibration says. Raises FrameError.
    """
    check_image_file(data.tobytes(), name[:40])
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise not_decoded(data, name, f"OpenCV says: {error.err}") from error
    if pixels is None:
        raise not_decoded(data, name, "publish jpeg or png")
    return pixels


def native_rows(message, encoding: Encoding) -> np.ndarray:
    """The bytes [H, row] uint8 of an Image's pixels: checked, without padding, in this machine's order, contiguous. A
    view of the message if possible.
    """
    dtype = np.dtype(encoding.dtype)
    row_bytes = message.width * encoding.channels * dtype.itemsize
    step = check_layout(message, row_bytes)
    data = np.frombuffer(message.data, dtype=np.uint8)
    rows = np.ascontiguousarray(
        np.lib.stride_tricks.as_strided(data, (message.height, row_bytes), (step, 1), writeable=False)
    )
    if dtype.itemsize > 1 and bool(message.is_bigendian) != NATIVE_BIG_ENDIAN:
        rows = rows.view(dtype).byteswap().view(np.uint8)
    return rows


def not_decoded(data, name: str, why: str) -> FrameError:
    """The error about image data, an array or a buffer, that a decoder refuses."""
    return FrameError(
        "bad_image",
        f"image ({name[:40]!r}, {memoryview(data).nbytes} bytes) cannot be decoded: {why}; check the driver",
    )
