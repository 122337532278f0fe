"""Damaged images, found before a decoder makes something of them: grey in place of the missing part, rows at a slant,
or gigabytes of nothing.
"""

from __future__ import annotations

import zlib

from cgc_ros.frame import FrameError

#: Larger sides are refused: no camera makes them, a corrupted message does.
MAX_SIDE = 16384
_MAX_PIXELS_PER_BYTE = 1100  # neither deflate nor JPEG can hold more
_TAIL = 4096  # bytes at the end within which a JPEG's end marker lies (some cameras pad)
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"


def check_layout(message, row_bytes: int) -> int:
    """Bytes from one row to the next of a sensor_msgs/Image whose rows hold `row_bytes` of pixels.

    Raises FrameError: bad_image (its size, its step), truncated_image.
    """
    height, width = message.height, message.width
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FrameError(
            "bad_image", f"image is {width}x{height}: sides must be 1..{MAX_SIDE} pixels; check the driver"
        )
    step = message.step or row_bytes
    if step < row_bytes:
        raise FrameError(
            "bad_image",
            f"image row step is {step} bytes, {width} pixels of {message.encoding} need {row_bytes}: check the driver",
        )
    needed = step * (height - 1) + row_bytes
    if len(message.data) < needed:
        raise FrameError(
            "truncated_image",
            f"image data has {len(message.data)} bytes, {width}x{height} {message.encoding} with step {step} needs "
            f"{needed}: check the driver and the network (lost fragments)",
        )
    return step


def check_image_file(data: bytes, name: str) -> None:
    """Raise FrameError (truncated_image, bad_image) where a PNG or JPEG is cut or damaged; other data passes."""
    if not data:
        raise _truncated(data, name)
    if data.startswith(_PNG):
        _check_png(data, name)
    elif is_jpeg(data) and b"\xff\xd9" not in data[-_TAIL:]:
        raise _truncated(data, name)
    width, height = claimed_size(data)
    if max(width, height) > MAX_SIDE or width * height > _MAX_PIXELS_PER_BYTE * len(data):
        raise _damaged(data, name, f"it claims {width}x{height} pixels")


def is_jpeg(data: bytes) -> bool:
    """Whether this is the beginning of a JPEG file."""
    return data.startswith(_JPEG)


def claimed_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG or JPEG; (0, 0) where there is none."""
    if data.startswith(_PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    place = len(_JPEG)
    while is_jpeg(data) and place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        # Fill bytes and markers without a body (0x01, restarts) have no length.
        if marker == 0xFF:
            place += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, 0


def _check_png(data: bytes, name: str) -> None:
    """Every chunk must lie inside the data and have its checksum: OpenCV allocates what a damaged length says."""
    place = len(_PNG)
    while True:
        if place + 12 > len(data):
            raise _truncated(data, name)
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(data):
            raise _truncated(data, name)
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise _damaged(data, name, f"the checksum of its {kind!r} chunk is wrong")
        if kind == b"IEND":
            return
        place = end


def _truncated(data: bytes, name: str) -> FrameError:
    return FrameError(
        "truncated_image",
        f"compressed image ({name!r}, {len(data)} bytes) ends early: check the driver and the network (lost fragments)",
    )


def _damaged(data: bytes, name: str, what: str) -> FrameError:
    return FrameError(
        "bad_image",
        f"compressed image ({name!r}, {len(data)} bytes) is damaged, {what}: check the driver and the network",
    )
