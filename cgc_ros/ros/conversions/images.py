"""sensor_msgs Image and CompressedImage to numpy arrays and back.

Every message is checked first (`image_integrity`): a camera driver's mistake must get a name (FrameError.reason)
instead of a garbled map. Then a reader takes the pixels out, cv_bridge where it is installed (`pixel_readers`), and
OpenCV converts colours. `reader` in each function is for another one than this machine's. The tests hold
rosbags-image as the oracle.
"""

from __future__ import annotations

import sys
from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cgc_ros.frame import FrameError
from cgc_ros.ros.conversions.encodings import COLOR, NUMBERS, Encoding, lookup
from cgc_ros.ros.conversions.pixel_readers import PixelReader, decoded_file, machine_reader


def decode_image(message: Image | CompressedImage, reader: PixelReader | None = None) -> np.ndarray:
    """A picture as [H, W, 3] uint8 RGB, never a view of the message. FrameError names what is wrong with it."""
    if isinstance(message, CompressedImage):
        return _decode_compressed_color(message, reader or machine_reader())
    encoding = lookup(message.encoding, COLOR, "colour image")
    return _to_rgb((reader or machine_reader()).pixels(message, encoding), encoding)


def decode_depth(
    message: Image | CompressedImage, unit_m: float = 0.001, reader: PixelReader | None = None
) -> np.ndarray:
    """Depth as [H, W] float32, metres, 0 invalid (REP-118: 16UC1 counts of `unit_m`, or 32FC1 metres, NaN invalid)."""
    if isinstance(message, CompressedImage):
        pixels = _decode_compressed_numbers(message)
    else:
        encoding = lookup(
            message.encoding, {name: NUMBERS[name] for name in ("16UC1", "mono16", "32FC1", "64FC1")}, "depth image"
        )
        pixels = (reader or machine_reader()).pixels(message, encoding)
    depth = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        depth *= np.float32(unit_m)
    depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
    return depth


def decode_masks(message: Image | CompressedImage, reader: PixelReader | None = None) -> np.ndarray:
    """A mask image as [H, W] int32 ids, 0 = no mask (8UC1, mono8, 16UC1, mono16 or 32SC1)."""
    if isinstance(message, CompressedImage):
        pixels = _decode_compressed_numbers(message)
    else:
        names = ("32SC1", "16UC1", "mono16", "8UC1", "mono8")
        encoding = lookup(message.encoding, {name: NUMBERS[name] for name in names}, "mask image")
        pixels = (reader or machine_reader()).pixels(message, encoding)
    if not np.issubdtype(pixels.dtype, np.integer):
        raise FrameError(
            "unknown_encoding", f"mask image holds {pixels.dtype} values: publish integer ids (32SC1 or 16UC1)"
        )
    return pixels.astype(np.int32)


def encode_image(pixels: np.ndarray, encoding: str, header) -> Image:
    """[H, W] or [H, W, C] pixels as an Image of this encoding; the dtype must be the encoding's."""
    expected = COLOR.get(encoding) or NUMBERS[encoding]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != np.dtype(expected.dtype) or channels != expected.channels:
        raise ValueError(
            f"{encoding} wants {expected.channels} channel(s) of {np.dtype(expected.dtype)}, got {pixels.shape} "
            f"{pixels.dtype}"
        )
    message = Image()
    message.header = header
    message.height, message.width = int(pixels.shape[0]), int(pixels.shape[1])
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = int(pixels.shape[1] * channels * pixels.itemsize)
    # Only an array.array is copied in one go; rclpy checks the elements of any other sequence one by one in Python.
    message.data = array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def _to_rgb(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    if pixels.dtype == np.uint16:  # full range to full range: 65535 / 255 = 257
        pixels = (pixels // 257).astype(np.uint8)
    if encoding.to_rgb is None:
        return np.array(pixels, order="C")
    if encoding.channels == 2 and pixels.shape[1] % 2:
        raise FrameError(
            "bad_image", f"a YUV 4:2:2 image must have an even width, got {pixels.shape[1]}: check the driver"
        )
    is_mosaic = encoding.channels == 1 and encoding.to_rgb != cv2.COLOR_GRAY2RGB
    if is_mosaic and min(pixels.shape[:2]) < 2:
        raise FrameError(
            "bad_image",
            f"a Bayer image needs at least 2x2 pixels, got {pixels.shape[1]}x{pixels.shape[0]}: check the driver",
        )
    return cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb)


def _decode_compressed_color(message: CompressedImage, reader: PixelReader) -> np.ndarray:
    pixels = reader.file(message)
    name = message.format.split(";")[0].strip()
    if pixels.ndim == 2 and name.startswith("bayer_") and name in COLOR:  # else the publisher has made it a picture
        return _to_rgb(pixels, COLOR[name])
    kinds = {1: "mono", 3: "bgr", 4: "bgra"}
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    encoding = COLOR.get(f"{kinds.get(channels)}{8 * pixels.itemsize}")
    if encoding is None or encoding.dtype != pixels.dtype.str[1:]:
        raise FrameError(
            "unknown_encoding",
            f"compressed image ({message.format[:40]!r}) holds {channels} channel(s) of {pixels.dtype}: publish "
            "jpeg, or png of 8 or 16 bits",
        )
    return _to_rgb(pixels, encoding)


def _decode_compressed_numbers(message: CompressedImage) -> np.ndarray:
    """A 16-bit PNG, plain or in compressed_depth_image_transport's wrapping (12 bytes in front)."""
    if "compressedDepth" not in message.format:
        if "jp" in message.format.lower().split(";")[-1]:
            raise FrameError(
                "unknown_encoding",
                f"depth or ids as {message.format!r}: JPEG destroys them; publish compressedDepth or png",
            )
        return _single_channel(decoded_file(np.frombuffer(message.data, dtype=np.uint8), message.format))
    data = np.frombuffer(message.data, dtype=np.uint8)
    if "rvl" in message.format.lower():
        raise FrameError(
            "unknown_encoding",
            "compressedDepth in RVL format is not supported: set the publisher's compressedDepth.format to png",
        )
    if data.size <= 12:
        raise FrameError(
            "truncated_image", f"compressedDepth message has {data.size} bytes: check the driver and the network"
        )
    config = data[:12].view("<f4")  # enum format, then depthParam[2]
    pixels = _single_channel(decoded_file(data[12:], message.format))
    if not message.format.startswith("32FC1"):
        return pixels
    # compressed_depth_image_transport stores floats as inverse depth: depth = quant_a / (value - quant_b).
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = config[1] / (pixels.astype(np.float32) - config[2])
    depth[pixels == 0] = np.nan
    return depth


def _single_channel(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 2:
        raise FrameError(
            "unknown_encoding", f"depth or ids must have one channel, the compressed image has {pixels.shape[2]}"
        )
    return pixels
