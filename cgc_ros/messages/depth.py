"""sensor_msgs Image and CompressedImage as depth."""

from __future__ import annotations

import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.messages.encodings import DEPTH, lookup
from cgc_ros.messages.image_integrity import MAX_SIDE, is_jpeg
from cgc_ros.messages.images import is_compressed
from cgc_ros.messages.pixels import NUMPY_READER, PixelReader, decoded_file
from cgc_ros.messages.rvl import RvlError, decode_rvl

_CONFIG_BYTES = 12  # of compressedDepth: the format as int32, two float32 of the inverse-depth coding
_RVL_SIZE_BYTES = 8  # columns and rows
_MAX_RVL_PIXELS_PER_BYTE = 2000  # a sane image of which most is nothing


def decode_depth(message, unit_m: float = 0.001, reader: PixelReader = NUMPY_READER) -> np.ndarray:
    """Depth as [H, W] float32, metres, 0 invalid (REP-118: 16UC1 counts of `unit_m`, or 32FC1 metres, NaN invalid).

    Compressed: a PNG, or compressedDepth's PNG or RVL. FrameError names what is wrong.
    """
    if is_compressed(message):
        pixels = compressed_numbers(message)
        if pixels.dtype == np.uint8:
            raise FrameError(
                "unknown_encoding",
                f"depth as {message.format[:60]!r} has 8 bits, a picture and no measure: publish 16UC1 or 32FC1",
            )
    else:
        pixels = reader.pixels(message, lookup(message.encoding, DEPTH, "depth image"))
    depth = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        depth *= np.float32(unit_m)
    depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
    return depth


def compressed_numbers(message) -> np.ndarray:
    """A CompressedImage of depth or ids, [H, W]: integers as they are stored, or float32 metres, NaN invalid.

    FrameError where it is a picture (a JPEG, several channels) or damaged.
    """
    data, form = np.frombuffer(message.data, dtype=np.uint8), message.format
    if "compressedDepth" not in form:
        return _numbers_in_file(data, form)
    if data.size <= _CONFIG_BYTES:
        raise FrameError(
            "truncated_image", f"compressedDepth message has {data.size} bytes: check the driver and the network"
        )
    config, content = data[:_CONFIG_BYTES].view("<f4"), data[_CONFIG_BYTES:]
    pixels = _rvl_image(content) if "rvl" in form.lower() else _numbers_in_file(content, form)
    if not form.strip().startswith("32FC1"):
        return pixels
    # compressed_depth_image_transport stores floats as inverse depth: depth = quant_a / (value - quant_b).
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = config[1] / (pixels.astype(np.float32) - config[2])
    depth[pixels == 0] = np.nan
    return depth


def _numbers_in_file(data: np.ndarray, form: str) -> np.ndarray:
    if is_jpeg(data[:2].tobytes()) or "jp" in form.lower().split(";")[-1]:
        raise FrameError(
            "unknown_encoding",
            f"depth or ids as {form[:60]!r} are a JPEG, which destroys them: publish compressedDepth or png",
        )
    pixels = decoded_file(data, form)
    if pixels.ndim != 2:
        raise FrameError(
            "unknown_encoding", f"depth or ids must have one channel, the compressed image has {pixels.shape[2]}"
        )
    return pixels


def _rvl_image(data: np.ndarray) -> np.ndarray:
    """[H, W] uint16 of columns and rows (uint32) and RVL data."""
    if data.size < _RVL_SIZE_BYTES:
        raise FrameError(
            "truncated_image", f"compressedDepth rvl has {data.size} bytes of data: check the driver and the network"
        )
    columns, rows = data[:_RVL_SIZE_BYTES].view("<u4").tolist()
    is_sane = 0 < columns <= MAX_SIDE and 0 < rows <= MAX_SIDE
    if not is_sane or columns * rows > _MAX_RVL_PIXELS_PER_BYTE * data.size:
        raise FrameError(
            "bad_image",
            f"compressedDepth rvl of {data.size} bytes claims {columns}x{rows} pixels: it is damaged, check the driver "
            "and the network",
        )
    try:
        return decode_rvl(data[_RVL_SIZE_BYTES:], columns * rows).reshape(rows, columns)
    except RvlError as error:
        raise FrameError(
            "truncated_image", f"compressedDepth rvl of {columns}x{rows} is damaged: {error}; check the network"
        ) from error
