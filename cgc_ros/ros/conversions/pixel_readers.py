"""Who takes the pixels out of an image message: cv_bridge where it is installed and works, else numpy and OpenCV.

Both stand behind the same checks. cv_bridge is only asked to pass pixels through, and only what it gets right in all
its versions: messages without row padding, in this machine's byte order (its `imgmsg_to_cv2` splits padded rows by
whole pixels, and swaps bytes by a method that numpy 2 lacks), under OpenCV's name of their type (it does not know every
encoding's), and compressed pictures. Compressed depth and ids are decoded without it: no cv_bridge reads
compressedDepth. One that decodes files to 8 bits and turns them by their orientation tag (before Jazzy) is not used.
"""

from __future__ import annotations

import functools
import logging
from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cgc_ros.messages.encodings import Encoding
from cgc_ros.messages.image_integrity import check_image_file
from cgc_ros.messages.pixels import (
    NATIVE_BIG_ENDIAN,
    NUMPY_READER,
    PixelReader,
    StoredImage,
    native_rows,
    not_decoded,
)

log = logging.getLogger(__name__)

_OPENCV_DEPTHS = {"u1": "8U", "u2": "16U", "i4": "32S", "f4": "32F", "f8": "64F"}


class CvBridgeReader:
    """ROS's own conversion. `bridge`: a `cv_bridge.CvBridge`."""

    def __init__(self, bridge):
        self._bridge = bridge

    def pixels(self, message: Image | StoredImage, encoding: Encoding) -> np.ndarray:
        """As PixelReader says."""
        return self._passed_through(self._bridge.imgmsg_to_cv2, _plain_image(message, encoding), message.encoding)

    def file(self, message: CompressedImage) -> np.ndarray:
        """As PixelReader says."""
        check_image_file(bytes(message.data), message.format[:40])
        return self._passed_through(self._bridge.compressed_imgmsg_to_cv2, message, message.format)

    def _passed_through(self, convert, message: StoredImage | CompressedImage, name: str) -> np.ndarray:
        try:
            pixels = convert(message, desired_encoding="passthrough")
        except (TypeError, cv2.error) as error:  # CvBridgeError is a TypeError
            raise not_decoded(message.data, name, f"cv_bridge says: {error}") from error
        if pixels is None:
            raise not_decoded(message.data, name, "publish jpeg or png")
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
    return NUMPY_READER


def _try_out(reader: PixelReader) -> None:
    """Raise ValueError where a reader gives other pixels than it is given."""
    pixels = np.array([[1, 2], [3, 40_000]], dtype=np.uint16)
    image = Image(height=2, width=2, step=4, is_bigendian=NATIVE_BIG_ENDIAN, data=array("B", pixels.tobytes()))
    file = CompressedImage(format="png", data=array("B", cv2.imencode(".png", pixels)[1].tobytes()))
    for read in (reader.pixels(image, Encoding("u2", 1)), reader.file(file)):
        if not np.array_equal(read, pixels):
            raise ValueError(f"it makes {read.tolist()} of {pixels.tolist()}: cv_bridge of Jazzy or later is needed")


def _plain_image(message: Image | StoredImage, encoding: Encoding) -> StoredImage:
    """The same pixels as every version of cv_bridge reads them."""
    rows = native_rows(message, encoding)
    opencv_type = f"{_OPENCV_DEPTHS[encoding.dtype]}C{encoding.channels}"
    return StoredImage(message.height, message.width, opencv_type, NATIVE_BIG_ENDIAN, rows.shape[1], rows)
