"""RVL, the lossless coding of depth images in compressedDepth messages.

Wilson, "Fast Lossless Depth Image Compression", ISS 2017: pixels in order are runs of zeros and of others, each run
preceded by its length; a pixel that is not zero is its difference from the one before, zigzag coded; every number is
a sequence of nibbles with three bits each, the lowest first, and a fourth that says whether more follow. Nibbles fill
32-bit little-endian words from the top.
"""

from __future__ import annotations

import numpy as np

_MAX_NIBBLES = 10  # of one number: 30 bits hold any length and any zigzag coded difference


class RvlError(ValueError):
    """Data that is no RVL image of the size it should have; the message says where it breaks."""


def decode_rvl(data: np.ndarray, num_pixels: int) -> np.ndarray:
    """[num_pixels] uint16 of RVL data [bytes] uint8. RvlError where the data ends early or runs past the image."""
    numbers = _numbers(data)
    headers, places, lengths = _runs(numbers, num_pixels)
    is_coded = np.ones(len(numbers), bool)
    is_coded[headers] = is_coded[headers + 1] = False
    is_coded[headers[-1] + 2 + lengths[-1] :] = False  # padding
    coded = numbers[is_coded]
    is_there = np.zeros(num_pixels + 1, np.int8)
    np.add.at(is_there, places, 1)
    np.add.at(is_there, places + lengths, -1)
    pixels = np.zeros(num_pixels, np.uint16)
    pixels[np.cumsum(is_there[:-1], dtype=np.int8).view(bool)] = np.cumsum((coded >> 1) ^ -(coded & 1)).astype(
        np.uint16
    )
    return pixels


def _numbers(data: np.ndarray) -> np.ndarray:
    """All variable-length numbers in the data, [N] int32. The padding at its end makes some zeros more."""
    words = data[: len(data) // 4 * 4].reshape(-1, 4)[:, ::-1].ravel()
    nibbles = np.empty(2 * len(words), np.uint8)
    nibbles[0::2], nibbles[1::2] = words >> 4, words & 15
    ends = np.flatnonzero(nibbles < 8)
    starts = np.empty_like(ends)
    starts[:1], starts[1:] = 0, ends[:-1] + 1
    sizes = ends + 1 - starts
    largest = int(sizes.max(initial=0))
    if largest > _MAX_NIBBLES:
        raise RvlError(f"a number has {largest} nibbles, {_MAX_NIBBLES} are the most")
    nibbles &= 7
    numbers = nibbles[starts].astype(np.int32)
    longer = np.arange(len(ends))
    for place in range(1, largest):
        longer = longer[sizes[longer] > place]
        numbers[longer] |= nibbles[starts[longer] + place].astype(np.int32) << (3 * place)
    return numbers


def _runs(numbers: np.ndarray, num_pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each run of zeros and what follows it: index of its first number, place of its first other pixel, how many."""
    runs: list[tuple[int, int, int]] = []
    at, pixel, count = 0, 0, len(numbers)
    while pixel < num_pixels:
        if at + 1 >= count:
            raise RvlError(f"{pixel} of {num_pixels} pixels are there")
        zeros, length = numbers.item(at), numbers.item(at + 1)
        runs.append((at, pixel + zeros, length))
        at, pixel = at + 2 + length, pixel + zeros + length
    if pixel > num_pixels or at > count:
        raise RvlError(f"a run ends at pixel {pixel} of {num_pixels}, at number {at} of {count}")
    headers, places, lengths = np.array(runs, np.int64).T
    return headers, places, lengths
