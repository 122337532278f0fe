"""How the pixels of each image encoding (sensor_msgs/image_encodings) are stored."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from cgc_ros.frame import FrameError


@dataclass(frozen=True)
class Encoding:
    """How one pixel of a named encoding is stored, and OpenCV's conversion of it to RGB."""

    dtype: str
    channels: int
    to_rgb: int | None = None  # cv2.COLOR_*; None: the channels are RGB already, or the encoding holds no picture


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


#: Pictures, by the name that messages give their encoding.
COLOR = _color_encodings()
#: Depth and ids.
NUMBERS = {
    "16UC1": Encoding("u2", 1),
    "32FC1": Encoding("f4", 1),
    "32SC1": Encoding("i4", 1),
    "64FC1": Encoding("f8", 1),
    "8UC1": Encoding("u1", 1),
    "mono8": Encoding("u1", 1),
    "mono16": Encoding("u2", 1),
}


def lookup(name: str, table: dict[str, Encoding], what: str) -> Encoding:
    """The encoding of a name; FrameError (unknown_encoding) with the ones that `what` may have."""
    encoding = table.get(name)
    if encoding is None:
        raise FrameError(
            "unknown_encoding",
            f"{what} has encoding {name[:40]!r}, which is not supported: set the driver to one of "
            f"{', '.join(sorted(table))}",
        )
    return encoding
