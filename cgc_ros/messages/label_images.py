"""sensor_msgs Image and CompressedImage as ids of masks."""

from __future__ import annotations

import numpy as np

from cgc_ros.frame import FrameError
from cgc_ros.messages.depth import compressed_numbers
from cgc_ros.messages.encodings import IDS, lookup
from cgc_ros.messages.images import is_compressed
from cgc_ros.messages.pixels import NUMPY_READER, PixelReader


def decode_masks(message, reader: PixelReader = NUMPY_READER) -> np.ndarray:
    """A mask image as [H, W] int32 ids, 0 = no mask (8UC1, mono8, 16UC1, mono16, 32SC1, or PNG)."""
    if is_compressed(message):
        pixels = compressed_numbers(message)
    else:
        pixels = reader.pixels(message, lookup(message.encoding, IDS, "mask image"))
    if not np.issubdtype(pixels.dtype, np.integer):
        raise FrameError(
            "unknown_encoding", f"mask image holds {pixels.dtype} values: publish integer ids (32SC1 or 16UC1)"
        )
    return pixels.astype(np.int32)
