"""numpy arrays as sensor_msgs Image."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from sensor_msgs.msg import Image

from cgc_ros.messages.encodings import COLOR, DEPTH, IDS


def encode_image(pixels: np.ndarray, encoding: str, header) -> Image:
    """[H, W] or [H, W, C] pixels as an Image of this encoding; the dtype must be the encoding's."""
    expected = (COLOR | DEPTH | IDS)[encoding]
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
