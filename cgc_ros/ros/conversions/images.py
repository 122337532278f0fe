"""sensor_msgs Image and CompressedImage to numpy arrays and back.

The bytes are unpacked here, and colours are converted by OpenCV, on every machine alike: cv_bridge and rosbags-image
both ignore row padding or truncation in places, and a camera driver's mistake must get a name (FrameError.reason)
instead of a garbled map. The tests hold rosbags-image as the oracle.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cgc_ros.frame import FrameError
from cgc_ros.ros.conversions.image_integrity import MAX_SIDE, check_image_file


@dataclass(frozen=True)
class Encoding:
    """How one pixel of a named encoding is stored, and OpenCV's conversion of it to RGB."""

    dtype: str
    channels: int
    to_rgb: int | None = None  # cv2.COLOR_*; None: the channels are RGB already, or the encoding holds no colour
    color: bool = True  # False: numbers (depth, ids), not a picture


def _color_encodings() -> dict[str, Encoding]:
    table = {
        "yuv422": Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
        "uyvy": Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
        "yuv422_yuy2": Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
        "yuyv": Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    }
    # OpenCV names a Bayer pattern by its second row and column, ROS by the first: rggb is OpenCV's "BG".
    bayer = {
        "rggb": cv2.COLOR_BayerBG2RGB,
        "bggr": cv2.COLOR_BayerRG2RGB,
        "gbrg": cv2.COLOR_BayerGR2RGB,
        "grbg": cv2.COLOR_BayerGB2RGB,
    }
    for bits, dtype in ((8, "u1"), (16, "u2")):
        table[f"rgb{bits}"] = Encoding(dtype, 3)
        table[f"bgr{bits}"] = Encoding(dtype, 3, cv2.COLOR_BGR2RGB)
        table[f"rgba{bits}"] = Encoding(dtype, 4, cv2.COLOR_RGBA2RGB)
        table[f"bgra{bits}"] = Encoding(dtype, 4, cv2.COLOR_BGRA2RGB)
        table[f"mono{bits}"] = Encoding(dtype, 1, cv2.COLOR_GRAY2RGB)
        for pattern, code in bayer.items():
            table[f"bayer_{pattern}{bits}"] = Encoding(dtype, 1, code)
    # OpenCV's own names, which some drivers send; by cv_bridge's convention their channels are blue first.
    table["8UC1"] = table["mono8"]
    table["8UC3"] = table["bgr8"]
    table["8UC4"] = table["bgra8"]
    return table


_COLOR = _color_encodings()
_NUMBERS = {
    "16UC1": Encoding("u2", 1, color=False),
    "32FC1": Encoding("f4", 1, color=False),
    "32SC1": Encoding("i4", 1, color=False),
    "64FC1": Encoding("f8", 1, color=False),
    "8UC1": Encoding("u1", 1, color=False),
    "mono8": Encoding("u1", 1, color=False),
    "mono16": Encoding("u2", 1, color=False),
}


def decode_image(message: Image | CompressedImage) -> np.ndarray:
    """A picture as [H, W, 3] uint8 RGB, never a view of the message. FrameError names what is wrong with it."""
    if isinstance(message, CompressedImage):
        return _decode_compressed_color(message)
    encoding = _lookup(message.encoding, _COLOR, "colour image")
    pixels = _unpack(message, encoding)
    return _to_rgb(pixels, encoding)


def decode_depth(message: Image | CompressedImage, unit_m: float = 0.001) -> np.ndarray:
    """Depth as [H, W] float32, metres, 0 invalid (REP-118: 16UC1 counts of `unit_m`, or 32FC1 metres, NaN invalid)."""
    if isinstance(message, CompressedImage):
        pixels = _decode_compressed_numbers(message)
    else:
        encoding = _lookup(
            message.encoding, {name: _NUMBERS[name] for name in ("16UC1", "mono16", "32FC1", "64FC1")}, "depth image"
        )
        pixels = _unpack(message, encoding)
    depth = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        depth *= np.float32(unit_m)
    depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
    return depth


def decode_masks(message: Image | CompressedImage) -> np.ndarray:
    """A mask image as [H, W] int32 ids, 0 = no mask (8UC1, mono8, 16UC1, mono16 or 32SC1)."""
    if isinstance(message, CompressedImage):
        pixels = _decode_compressed_numbers(message)
    else:
        names = ("32SC1", "16UC1", "mono16", "8UC1", "mono8")
        pixels = _unpack(message, _lookup(message.encoding, {name: _NUMBERS[name] for name in names}, "mask image"))
    if not np.issubdtype(pixels.dtype, np.integer):
        raise FrameError(
            "unknown_encoding", f"mask image holds {pixels.dtype} values: publish integer ids (32SC1 or 16UC1)"
        )
    return pixels.astype(np.int32)


def encode_image(pixels: np.ndarray, encoding: str, header) -> Image:
    """[H, W] or [H, W, C] pixels as an Image of this encoding; the dtype must be the encoding's."""
    expected = _COLOR.get(encoding) or _NUMBERS[encoding]
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


def _lookup(name: str, table: dict[str, Encoding], what: str) -> Encoding:
    encoding = table.get(name)
    if encoding is None:
        raise FrameError(
            "unknown_encoding",
            f"{what} has encoding {name[:40]!r}, which is not supported: set the driver to one of "
            f"{', '.join(sorted(table))}",
        )
    return encoding


def _unpack(message: Image, encoding: Encoding) -> np.ndarray:
    """The pixels in native byte order, [H, W] or [H, W, C], without row padding; a view of the message if possible."""
    height, width, dtype = message.height, message.width, np.dtype(encoding.dtype)
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FrameError(
            "bad_image", f"image is {width}x{height}: sides must be 1..{MAX_SIDE} pixels; check the driver"
        )
    row_bytes = width * encoding.channels * dtype.itemsize
    step = message.step or row_bytes
    if step < row_bytes:
        raise FrameError(
            "bad_image",
            f"image row step is {step} bytes, {width} pixels of {message.encoding} need {row_bytes}: check the driver",
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    needed = step * (height - 1) + row_bytes
    if data.size < needed:
        raise FrameError(
            "truncated_image",
            f"image data has {data.size} bytes, {width}x{height} {message.encoding} with step {step} needs {needed}: "
            "check the driver and the network (lost fragments)",
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1), writeable=False)
    if dtype.itemsize > 1:
        is_foreign = bool(message.is_bigendian) != (sys.byteorder == "big")
        rows = np.ascontiguousarray(rows).view(dtype.newbyteorder() if is_foreign else dtype)
        if is_foreign:
            rows = rows.astype(dtype)
    return rows if encoding.channels == 1 else rows.reshape(height, width, encoding.channels)


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


def _decode_compressed_color(message: CompressedImage) -> np.ndarray:
    data = np.frombuffer(message.data, dtype=np.uint8)
    source_encoding = message.format.split(";")[0].strip()
    mosaic = _COLOR.get(source_encoding) if source_encoding.startswith("bayer_") else None
    # The orientation tag is ignored: a camera's pixels are where its calibration says, whatever a file viewer would
    # show.
    flags = (cv2.IMREAD_GRAYSCALE if mosaic else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = _imdecode(data, flags, message.format)
    return _to_rgb(pixels, mosaic) if mosaic else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _decode_compressed_numbers(message: CompressedImage) -> np.ndarray:
    """A 16-bit PNG, plain or in compressed_depth_image_transport's wrapping (12 bytes in front)."""
    if "compressedDepth" not in message.format:
        if "jp" in message.format.lower().split(";")[-1]:
            raise FrameError(
                "unknown_encoding",
                f"depth or ids as {message.format!r}: JPEG destroys them; publish compressedDepth or png",
            )
        return _single_channel(
            _imdecode(np.frombuffer(message.data, dtype=np.uint8), cv2.IMREAD_UNCHANGED, message.format)
        )
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
    pixels = _single_channel(_imdecode(data[12:], cv2.IMREAD_UNCHANGED, message.format))
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


def _imdecode(data: np.ndarray, flags: int, name: str) -> np.ndarray:
    check_image_file(data.tobytes(), name[:40])
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise FrameError(
            "bad_image", f"compressed image ({name[:40]!r}) cannot be decoded: {error.err}; check the driver"
        ) from error
    if pixels is None:
        raise FrameError(
            "bad_image", f"compressed image ({name[:40]!r}, {data.size} bytes) cannot be decoded: publish jpeg or png"
        )
    return pixels
