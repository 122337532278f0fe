"""Who takes the pixels out of an image message: cv_bridge where it is installed and works, else numpy and OpenCV.

Both stand behind the same checks. cv_bridge is only asked to pass pixels through, and only what it gets right in all
its versions: messages without row padding, in this machine's byte order (its `imgmsg_to_cv2` splits padded rows by
whole pixels, and swaps bytes by a method that numpy 2 lacks), under OpenCV's name of their type (it does not know every
encoding's), and compressed pictures. Compressed depth and ids are decoded here (`decoded_file`): no cv_bridge reads
compressedDepth. One that decodes files to 8 bits and turns them by their orientation tag (before Jazzy) is not used.
"""

from __future__ import annotations

import functools
import logging
import sys
from array import array
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cgc_ros.frame import FrameError
from cgc_ros.ros.conversions.encodings import Encoding
from cgc_ros.ros.conversions.image_integrity import check_image_file, check_layout

log = logging.getLogger(__name__)

_NATIVE_BIG_ENDIAN = sys.byteorder == "big"
_OPENCV_DEPTHS = {"u1": "8U", "u2": "16U", "i4": "32S", "f4": "32F", "f8": "64F"}


class PixelReader(Protocol):
    """Takes pixels out of messages. The arrays may be views of the message."""

    def pixels(self, message: Image, encoding: Encoding) -> np.ndarray:
        """[H, W] or [H, W, C] in native byte order, as stored. FrameError: bad_image, truncated_image."""
        ...

    def file(self, message: CompressedImage) -> np.ndarray:
        """A JPEG or PNG as stored: [H, W] grey, [H, W, 3] BGR or [H, W, 4] BGRA. FrameError as `pixels`."""
        ...


class NumpyReader:
    """The reader that works everywhere."""

    def pixels(self, message: Image, encoding: Encoding) -> np.ndarray:
        """As PixelReader says."""
        rows = _native_rows(message, encoding).view(encoding.dtype)
        return rows if encoding.channels == 1 else rows.reshape(message.height, message.width, encoding.channels)

    def file(self, message: CompressedImage) -> np.ndarray:
        """As PixelReader says."""
        return decoded_file(np.frombuffer(message.data, dtype=np.uint8), message.format)


class CvBridgeReader:
    """ROS's own conversion. `bridge`: a `cv_bridge.CvBridge`."""

    def __init__(self, bridge):
        self._bridge = bridge

    def pixels(self, message: Image, encoding: Encoding) -> np.ndarray:
        """As PixelReader says."""
        return self._passed_through(self._bridge.imgmsg_to_cv2, _plain_image(message, encoding), message.encoding)

    def file(self, message: CompressedImage) -> np.ndarray:
        """As PixelReader says."""
        check_image_file(bytes(message.data), message.format[:40])
        return self._passed_through(self._bridge.compressed_imgmsg_to_cv2, message, message.format)

    def _passed_through(self, convert, message: _PlainImage | CompressedImage, name: str) -> np.ndarray:
        try:
            pixels = convert(message, desired_encoding="passthrough")
        except (TypeError, cv2.error) as error:  # CvBridgeError is a TypeError
            raise _not_decoded(message, name, f"cv_bridge says: {error}") from error
        if pixels is None:
            raise _not_decoded(message, name, "publish jpeg or png")
        return pixels


@functools.cache
def machine_reader() -> PixelReader:
    """cv_bridge's where it can be imported and reads a trial image and file, else numpy's. Says why not in the log."""
    try:
        from cv_bridge import CvBridge

        reader = CvBridgeReader(CvBridge())
        _try_out(reader)
    except ImportError as error:
        log.debug("images are converted without cv_bridge: %s", error)
    except Exception as error:  # one that was built for another numpy fails in its own ways
        log.warning("cv_bridge is installed and does not work, images are converted without it: %r", error)
    else:
        return reader
    return NumpyReader()


def _try_out(reader: PixelReader) -> None:
    """Raise ValueError where a reader gives other pixels than it is given."""
    pixels = np.array([[1, 2], [3, 40_000]], dtype=np.uint16)
    image = Image(height=2, width=2, step=4, is_bigendian=_NATIVE_BIG_ENDIAN, data=array("B", pixels.tobytes()))
    file = CompressedImage(format="png", data=array("B", cv2.imencode(".png", pixels)[1].tobytes()))
    for read in (reader.pixels(image, Encoding("u2", 1)), reader.file(file)):
        if not np.array_equal(read, pixels):
            raise ValueError(f"it makes {read.tolist()} of {pixels.tolist()}: cv_bridge of Jazzy or later is needed")


def decoded_file(data: np.ndarray, name: str) -> np.ndarray:
    """JPEG or PNG data [bytes] uint8 as stored, whatever its orientation tag says: a camera's pixels are where its
    calibration says. Raises FrameError.
    """
    check_image_file(data.tobytes(), name[:40])
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _not_decoded(data, name, f"OpenCV says: {error.err}") from error
    if pixels is None:
        raise _not_decoded(data, name, "publish jpeg or png")
    return pixels


def _native_rows(message: Image, encoding: Encoding) -> np.ndarray:
    """The bytes [H, row] uint8 of a message's pixels: checked, without padding, in this machine's order, contiguous. A
    view of the message if possible.
    """
    dtype = np.dtype(encoding.dtype)
    row_bytes = message.width * encoding.channels * dtype.itemsize
    step = check_layout(message, row_bytes)
    data = np.frombuffer(message.data, dtype=np.uint8)
    rows = np.ascontiguousarray(
        np.lib.stride_tricks.as_strided(data, (message.height, row_bytes), (step, 1), writeable=False)
    )
    if dtype.itemsize > 1 and bool(message.is_bigendian) != _NATIVE_BIG_ENDIAN:
        rows = rows.view(dtype).byteswap().view(np.uint8)
    return rows


@dataclass(frozen=True)
class _PlainImage:
    """The fields of an Image that cv_bridge reads. An Image itself would copy the data."""

    height: int
    width: int
    encoding: str
    is_bigendian: bool
    step: int
    data: np.ndarray


def _plain_image(message: Image, encoding: Encoding) -> _PlainImage:
    """The same pixels as every version of cv_bridge reads them."""
    rows = _native_rows(message, encoding)
    opencv_type = f"{_OPENCV_DEPTHS[encoding.dtype]}C{encoding.channels}"
    return _PlainImage(message.height, message.width, opencv_type, _NATIVE_BIG_ENDIAN, rows.shape[1], rows)


def _not_decoded(data: np.ndarray | _PlainImage | CompressedImage, name: str, why: str) -> FrameError:
    size = np.asarray(data if isinstance(data, np.ndarray) else data.data).nbytes
    return FrameError("bad_image", f"image ({name[:40]!r}, {size} bytes) cannot be decoded: {why}; check the driver")
