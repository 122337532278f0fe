"""sensor_msgs Image and CompressedImage as pictures.

Every message is checked first (`image_integrity`): a camera driver's mistake must get a name (FrameError.reason)
instead of a garbled map. Then a reader takes the pixels out (`pixels`; the node's may be cv_bridge), and OpenCV
converts colours. The tests hold rosbags-image as the oracle.
"""

from __future__ import annotations

import re
from functools import lru_cache

import cv2
import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.messages.encodings import COLOR, Encoding, find, lookup
from cgc_ros.messages.image_integrity import claimed_size
from cgc_ros.messages.pixels import NUMPY_READER, PixelReader, StoredImage

_USED_BITS = (10, 12, 14, 16)  # of 16, as sensors have them


class SampleRange:
    """How many of 16 bits a stream of images uses, by the largest value seen so far: cameras of 10, 12 and 14 bits send
    their values in the lower bits, and most do not say so.
    """

    def __init__(self):
        self.bits = 0  # 0: nothing seen yet

    def observe(self, pixels: np.ndarray) -> int:
        """Take 16-bit pixels in; the bits used so far."""
        largest = int(pixels.max(initial=0))
        self.bits = max(self.bits, next(bits for bits in _USED_BITS if largest < 1 << bits))
        return self.bits

    def note(self) -> str:
        """What is done about it, for people; empty where nothing is."""
        if not 0 < self.bits < 16:
            return ""
        return f"16-bit images use {self.bits} bits: {2**self.bits - 1} is taken for white"


def is_compressed(message) -> bool:
    """Whether this is a CompressedImage, not an Image."""
    return hasattr(message, "format")


def decode_image(message, samples: SampleRange | None = None, reader: PixelReader = NUMPY_READER) -> np.ndarray:
    """An Image or CompressedImage as [H, W, 3] uint8 RGB, never a view of the message.

    `samples`: of the stream that the image is of; None: 16-bit images use all bits. FrameError names what is wrong.
    """
    return _to_rgb(*_stored(message, reader), samples)


def observe_samples(message, samples: SampleRange) -> bool:
    """Take an image into account without converting it. Whether it has 16 bits of which the stream shows how many are
    used. Raises FrameError.
    """
    pixels, encoding = _stored(message, NUMPY_READER)
    if pixels.dtype != np.uint16 or encoding.bits:
        return False
    samples.observe(pixels)
    return True


def size_of(message) -> tuple[int, int]:
    """Width and height of an image as it will be decoded, without decoding it; (0, 0) where its data do not say."""
    if is_compressed(message):
        return claimed_size(np.asarray(message.data).tobytes())
    encoding = find(message.encoding, COLOR)
    width, height = int(message.width), int(message.height)
    is_taller = encoding is not None and encoding.is_planar and _counts_planes(message)
    return width, height * 2 // 3 if is_taller else height


def _stored(message, reader: PixelReader) -> tuple[np.ndarray, Encoding]:
    if is_compressed(message):
        pixels = reader.file(message)
        return pixels, _file_encoding(message.format, pixels)
    encoding = lookup(message.encoding, COLOR, "colour image")
    return reader.pixels(_with_planes(message) if encoding.is_planar else message, encoding), encoding


def _counts_planes(message) -> bool:
    """Whether a 4:2:0 image's height is that of all its planes together, as some drivers have it."""
    return message.height % 3 == 0 and len(message.data) == (message.step or message.width) * message.height


def _with_planes(message) -> StoredImage:
    """A 4:2:0 image as one of all its planes' rows."""
    height, width = int(message.height), int(message.width)
    rows = height if _counts_planes(message) else height * 3 // 2
    if height <= 0 or width % 2 or rows % 3:
        raise FrameError(
            "bad_image",
            f"a YUV 4:2:0 image must have an even width and height, got {width}x{height}: check the driver",
        )
    return StoredImage(rows, width, message.encoding, bool(message.is_bigendian), message.step, message.data)


def _to_rgb(pixels: np.ndarray, encoding: Encoding, samples: SampleRange | None) -> np.ndarray:
    if pixels.dtype == np.uint16:
        bits = encoding.bits or (16 if samples is None else samples.observe(pixels))
        pixels = _eight_bits(bits)[pixels]
    if encoding.to_rgb is None:
        return np.array(pixels, order="C")
    if encoding.channels == 2 and pixels.shape[1] % 2:
        raise FrameError(
            "bad_image", f"a YUV 4:2:2 image must have an even width, got {pixels.shape[1]}: check the driver"
        )
    if encoding.is_mosaic and min(pixels.shape[:2]) < 2:
        raise FrameError(
            "bad_image",
            f"a Bayer image needs at least 2x2 pixels, got {pixels.shape[1]}x{pixels.shape[0]}: check the driver",
        )
    return cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb)


@lru_cache(maxsize=8)
def _eight_bits(bits: int) -> np.ndarray:
    """[65536] uint8: each value of `bits` bits in 8, full range to full range."""
    return np.minimum(np.arange(1 << 16) * 255 // ((1 << bits) - 1), 255).astype(np.uint8)


def _file_encoding(form: str, pixels: np.ndarray) -> Encoding:
    """How the pixels that OpenCV decodes from a file are to be read.

    image_transport's format is `ENCODING; CODEC compressed STORED`: STORED says what the pixels in the file are,
    ENCODING what the camera sent; without STORED a single channel is as it was sent, three are a picture like any
    other.
    """
    sent, _, rest = form.partition(";")
    stored = rest.partition("compressed")[2].strip()
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = 8 * pixels.itemsize
    colors = re.sub(r"\d+$", "", (stored or sent).strip().lower())
    kind = {1: "mono", 3: "bgr", 4: "bgra"}.get(channels, "")
    if channels == 1 and colors.startswith("bayer_") or channels == 3 and stored and colors == "rgb":
        kind = colors
    encoding = COLOR.get(f"{kind}{bits}")
    if encoding is None or encoding.dtype != pixels.dtype.str[1:]:
        raise FrameError(
            "unknown_encoding",
            f"compressed image ({form[:40]!r}) holds {channels} channel(s) of {pixels.dtype}: publish "
            "jpeg, or png of 8 or 16 bits",
        )
    return encoding
