"""How the pixels of each image encoding (sensor_msgs/image_encodings, and what drivers call them) are stored."""

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
    bits: int | None = None  # of 16 that its name says are used; None: the stream shows it
    is_planar: bool = False  # YUV 4:2:0: a plane of brightness, and half as many rows of colour below it
    is_mosaic: bool = False


#: Bits of a colour channel that names may give.
_DEPTHS = (8, 10, 12, 14, 16)
# OpenCV names a Bayer pattern by its second row and column, ROS by the first: rggb is OpenCV's "BG".
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}


def _color_encodings() -> dict[str, Encoding]:
    table = {
        **dict.fromkeys(("yuv422", "uyvy", "uyvy422", "yuv422_uyvy"), Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY)),
        **dict.fromkeys(("yuv422_yuy2", "yuyv", "yuy2", "yuyv422"), Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV)),
        "yvyu": Encoding("u1", 2, cv2.COLOR_YUV2RGB_YVYU),
        "nv12": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, is_planar=True),
        "nv21": Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV21, is_planar=True),
        **dict.fromkeys(("i420", "yuv420"), Encoding("u1", 1, cv2.COLOR_YUV2RGB_I420, is_planar=True)),
        "yv12": Encoding("u1", 1, cv2.COLOR_YUV2RGB_YV12, is_planar=True),
    }
    for bits in _DEPTHS:
        dtype, named_bits = ("u1" if bits == 8 else "u2"), (bits if 8 < bits < 16 else None)
        table[f"rgb{bits}"] = Encoding(dtype, 3, None, named_bits)
        table[f"bgr{bits}"] = Encoding(dtype, 3, cv2.COLOR_BGR2RGB, named_bits)
        table[f"rgba{bits}"] = Encoding(dtype, 4, cv2.COLOR_RGBA2RGB, named_bits)
        table[f"bgra{bits}"] = Encoding(dtype, 4, cv2.COLOR_BGRA2RGB, named_bits)
        table[f"mono{bits}"] = Encoding(dtype, 1, cv2.COLOR_GRAY2RGB, named_bits)
        for pattern, code in _BAYER.items():
            table[f"bayer_{pattern}{bits}"] = Encoding(dtype, 1, code, named_bits, is_mosaic=True)
    # OpenCV's own names, which some drivers send; by cv_bridge's convention their channels are blue first.
    for name, known in (
        ("8UC1", "mono8"),
        ("8UC3", "bgr8"),
        ("8UC4", "bgra8"),
        ("16UC3", "bgr16"),
        ("16UC4", "bgra16"),
        ("y8", "mono8"),
        ("gray8", "mono8"),
        ("grey8", "mono8"),
        ("y10", "mono10"),
        ("y12", "mono12"),
        ("y16", "mono16"),
    ):
        table[name] = table[known]
    return table


#: Pictures, by the name that messages give their encoding.
COLOR = _color_encodings()
_COUNTS = Encoding("u2", 1)
#: Depth: counts of a unit, or metres.
DEPTH = {
    **dict.fromkeys(("16UC1", "mono16", "Z16", "Y16", "uint16"), _COUNTS),
    "32FC1": Encoding("f4", 1),
    "64FC1": Encoding("f8", 1),
}
#: Ids of masks and labels.
IDS = {
    **dict.fromkeys(("16UC1", "mono16"), _COUNTS),
    **dict.fromkeys(("8UC1", "mono8"), Encoding("u1", 1)),
    "32SC1": Encoding("i4", 1),
}


def find(name: str, table: dict[str, Encoding]) -> Encoding | None:
    """The encoding of a name, whatever the size of its letters; None where the table has none."""
    wanted = name.strip().lower()
    return table.get(name) or next((each for known, each in table.items() if known.lower() == wanted), None)


def lookup(name: str, table: dict[str, Encoding], what: str) -> Encoding:
    """As `find`; FrameError (unknown_encoding) where there is none."""
    encoding = find(name, table)
    if encoding is None:
        raise FrameError(
            "unknown_encoding",
            f"{what} has encoding {name[:40]!r}, which is not supported: set the driver to {_usual(table)}",
        )
    return encoding


def _usual(table: dict[str, Encoding]) -> str:
    if table is COLOR:
        return "rgb8, bgr8, mono8, mono16, a Bayer encoding (bayer_rggb8), yuv422, yuyv, nv12 or nv21"
    return f"one of {', '.join(table)}"
