"""Labelled point clouds as sensor_msgs PointCloud2."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

#: One point: PCL's layout of colour (the bits 0x00RRGGBB in a float32), then what is ours.
POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("rgb", "u4"), ("label", "u4"), ("confidence", "f4")])

_OFFSETS = {name: entry[1] for name, entry in (POINT.fields or {}).items()}
_FIELDS = [
    PointField(name=name, offset=_OFFSETS[name], datatype=datatype, count=1)
    for name, datatype in (
        ("x", PointField.FLOAT32),
        ("y", PointField.FLOAT32),
        ("z", PointField.FLOAT32),
        ("rgb", PointField.FLOAT32),
        ("label", PointField.UINT32),
        ("confidence", PointField.FLOAT32),
    )
]


def labelled_points(points: np.ndarray, colors: np.ndarray, label: int, confidence: float) -> np.ndarray:
    """Points [P, 3] in metres, colours [P, 3] uint8 RGB, one label and confidence, as a structured array of POINT."""
    packed = np.empty(len(points), dtype=POINT)
    packed["x"], packed["y"], packed["z"] = points[:, 0], points[:, 1], points[:, 2]
    red, green, blue = (colors[:, channel].astype(np.uint32) for channel in range(3))
    packed["rgb"] = (red << 16) | (green << 8) | blue
    packed["label"] = label
    packed["confidence"] = confidence
    return packed


def cloud_message(points: np.ndarray, header) -> PointCloud2:
    """A structured array of POINT as an unorganised PointCloud2."""
    message = PointCloud2(header=header, height=1, width=len(points), fields=_FIELDS)
    message.is_bigendian = sys.byteorder == "big"
    message.point_step = POINT.itemsize
    message.row_step = POINT.itemsize * len(points)
    message.data = array("B", points.tobytes())
    message.is_dense = True
    return message


def points_from_message(message: PointCloud2) -> np.ndarray:
    """The structured array of POINT that `cloud_message` was given (read-only)."""
    return np.frombuffer(message.data, dtype=POINT)


def thin(points: np.ndarray, max_points: int) -> np.ndarray:
    """At most `max_points` of the rows, evenly spread over their order (0: none)."""
    if len(points) <= max_points:
        return points
    return points[np.linspace(0, len(points) - 1, max_points).astype(np.int64)] if max_points > 0 else points[:0]
