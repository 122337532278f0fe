"""Image messages by their fields alone, as any library hands them out: no ROS in them."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np


def raw(pixels, encoding, padding=0):
    """An Image of these pixels, as many channels as they have, each row followed by `padding` bytes."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.ravel(),
    )


def file(pixels, extension, form):
    """A CompressedImage of these pixels in OpenCV's order of colours."""
    return SimpleNamespace(format=form, data=cv2.imencode(extension, pixels)[1].ravel())


def rvl(pixels, form="16UC1; compressedDepth rvl", config=(0.0, 0.0)):
    """A compressedDepth message of [H, W] uint16 in RVL."""
    head = struct.pack("<iffII", 0, *config, pixels.shape[1], pixels.shape[0])
    return SimpleNamespace(format=form, data=np.frombuffer(head + rvl_encoded(pixels), np.uint8))


def rvl_encoded(pixels):
    """Wilson 2017, one number after the other."""
    nibbles = []

    def put(number):
        nibbles.append((number & 7) | (8 if number > 7 else 0))
        if number > 7:
            put(number >> 3)

    values, place, before = pixels.ravel().tolist(), 0, 0
    while place < len(values):
        start = place
        while place < len(values) and values[place] == 0:
            place += 1
        put(place - start)
        start = place
        while place < len(values) and values[place] != 0:
            place += 1
        put(place - start)
        for value in values[start:place]:
            difference, before = value - before, value
            put(2 * difference if difference >= 0 else -2 * difference - 1)
    nibbles += [0] * (-len(nibbles) % 8)
    words = [sum(n << (28 - 4 * k) for k, n in enumerate(nibbles[i : i + 8])) for i in range(0, len(nibbles), 8)]
    return np.array(words, "<u4").tobytes()
