"""Recorded ROS messages, as rosbags deserialises them, to arrays and matrices. SequenceError names what is wrong with
one.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from rosbags.image import ImageError, image_to_cvimage
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import SequenceError

_MILLIMETRE = 0.001
#: OpenCV's type names in place of a colour encoding: by cv_bridge's convention their channels are blue first.
_UNNAMED_COLORS = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_POINT_FIELD_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # sensor_msgs/PointField
_COMPRESSED_DEPTH_HEADER = 12  # bytes: the format as int32, two float32 parameters of the inverse-depth coding


def stamp_ns(stamp) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def is_compressed(message) -> bool:
    return hasattr(message, "format")


def color_image(message) -> np.ndarray:
    """Image or CompressedImage -> [H, W, 3] uint8 RGB."""
    if is_compressed(message):
        return cv2.cvtColor(_decode(message.data, cv2.IMREAD_COLOR, message.format), cv2.COLOR_BGR2RGB)
    encoding = _UNNAMED_COLORS.get(message.encoding, message.encoding)
    return np.ascontiguousarray(_raw_image(message, encoding, "rgb8"))


def depth_image(message) -> np.ndarray:
    """Image (16UC1 mm, 32FC1 m) or CompressedImage (png, or compressedDepth's png) -> [H, W] float32 metres, 0 =
    invalid (REP-118).
    """
    values = _compressed_depth(message) if is_compressed(message) else _raw_image(message, message.encoding)
    if values.ndim != 2 or values.dtype not in (np.uint16, np.float32):
        kind = message.format if is_compressed(message) else message.encoding
        raise SequenceError("bad_depth", f"depth comes as {kind!r}: record 16UC1 (millimetres) or 32FC1 (metres)")
    depth = values * np.float32(_MILLIMETRE) if values.dtype == np.uint16 else values
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0.0))


def label_image(message) -> np.ndarray:
    """Image (mono8, mono16, 16UC1, 32SC1) or 16 bit png -> [H, W] int32."""
    if is_compressed(message):
        values = _decode(message.data, cv2.IMREAD_UNCHANGED, message.format)
    else:
        values = _raw_image(message, message.encoding)
    if values.ndim != 2 or values.dtype.kind not in "ui":
        raise SequenceError(
            "bad_labels", f"label image is {values.shape} {values.dtype}: record one channel of integer ids (16UC1)"
        )
    return values.astype(np.int32)


def intrinsics(info, rectified: bool) -> Intrinsics:
    """CameraInfo -> Intrinsics: P without distortion where the image is rectified, else K and D."""
    matrix = np.asarray(info.p).reshape(3, 4) if rectified else np.asarray(info.k).reshape(3, 3)
    distorted = not rectified and np.any(info.d)
    is_fisheye = info.distortion_model in ("equidistant", "fisheye") and not rectified
    return Intrinsics(
        int(info.width),
        int(info.height),
        fx=float(matrix[0, 0]),
        fy=float(matrix[1, 1]),
        cx=float(matrix[0, 2]),
        cy=float(matrix[1, 2]),
        distortion_model=info.distortion_model if distorted or is_fisheye else "none",
        distortion=tuple(float(value) for value in info.d) if distorted else (),
    )


def rigid_matrix(translation, rotation) -> np.ndarray:
    """[4, 4] from a Vector3 or Point and a Quaternion; NaN where its length is further than 1e-2 from 1, tf2's
    tolerance.
    """
    quaternion = [rotation.x, rotation.y, rotation.z, rotation.w]
    matrix = np.full((4, 4), np.nan)
    if abs(np.linalg.norm(quaternion) - 1.0) < 1e-2:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
        matrix[:3, 3] = translation.x, translation.y, translation.z
    return matrix


def instance_names(message, topic: str) -> dict[int, tuple[str, str]]:
    """std_msgs/String with JSON {"id": {"name": ..., "kind": ...}}."""
    try:
        return {int(key): (str(value["name"]), str(value["kind"])) for key, value in json.loads(message.data).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_labels", f'{topic} must hold JSON {{"id": {{"name": ..., "kind": ...}}}}: {error!r}'
        ) from error


def labelled_points(message, topic: str) -> dict[int, np.ndarray]:
    """PointCloud2 with x, y, z and label -> {label: [P, 3] float32}."""
    fields = {field.name: field for field in message.fields}
    lacking = [name for name in ("x", "y", "z", "label") if name not in fields]
    if lacking:
        raise SequenceError(
            "bad_object_points", f"{topic} lacks the fields {', '.join(lacking)}: record x, y, z and label"
        )
    order = ">" if message.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": list(fields),
            "formats": [order + _POINT_FIELD_TYPES[field.datatype] for field in fields.values()],
            "offsets": [field.offset for field in fields.values()],
            "itemsize": message.point_step,
        }
    )
    points = np.frombuffer(bytes(message.data), dtype=layout, count=message.width * message.height)
    coordinates = np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float32)
    return {int(label): coordinates[points["label"] == label] for label in np.unique(points["label"])}


def _raw_image(message, encoding: str, color_space: str | None = None) -> np.ndarray:
    """rosbags-image's conversion, told about row padding (`step`), which it takes to be none."""
    try:
        packed = _packed_row_bytes(message, encoding)
        step = max(message.step, packed)
        data = np.asarray(message.data, dtype=np.uint8)
        if packed * message.height == 0 or len(data) < step * (message.height - 1) + packed:
            raise SequenceError(
                "truncated",
                f"image {message.width}x{message.height} {encoding} "
                f"needs {step * message.height} bytes, has {len(data)}: "
                "its publisher or the recording is broken",
            )
        if step > packed:
            rows = np.lib.stride_tricks.as_strided(
                data, (message.height, packed), (step * data.itemsize, data.itemsize), writeable=False
            )
            data = np.ascontiguousarray(rows).ravel()
        return image_to_cvimage(_bare_image(message, encoding, message.height, data), color_space)
    except (ImageError, cv2.error) as error:
        raise SequenceError(
            "unknown_encoding", f"image of encoding {encoding!r} cannot be converted: {error}"
        ) from error


def _bare_image(message, encoding: str, height: int, data: np.ndarray) -> Any:
    return SimpleNamespace(
        encoding=encoding, height=height, width=message.width, is_bigendian=message.is_bigendian, data=data
    )


def _packed_row_bytes(message, encoding: str) -> int:
    """Bytes of a row without padding, by asking rosbags-image what one row of this encoding is."""
    return image_to_cvimage(_bare_image(message, encoding, 1, np.zeros(message.width * 32, np.uint8))).nbytes


def _compressed_depth(message) -> np.ndarray:
    """compressed_image_transport's png, or compressed_depth_image_transport's: 12 bytes of header, then a 16 bit png of
    either millimetres or quantised inverse depth, depth = a / (value - b)."""
    data = np.asarray(message.data, dtype=np.uint8)
    if "compressedDepth" not in message.format:
        return _decode(data, cv2.IMREAD_UNCHANGED, message.format)
    if "rvl" in message.format:
        raise SequenceError(
            "unknown_encoding",
            f"depth comes as {message.format!r}: record compressedDepth with format png, or raw depth",
        )
    values = _decode(data[_COMPRESSED_DEPTH_HEADER:], cv2.IMREAD_UNCHANGED, message.format)
    if not message.format.startswith("32FC1"):
        return values
    _, a, b = np.frombuffer(data[:_COMPRESSED_DEPTH_HEADER].tobytes(), dtype="<i4,<f4,<f4")[0]
    with np.errstate(divide="ignore"):
        return np.where(values > 0, np.float32(a) / (values.astype(np.float32) - np.float32(b)), np.float32(0.0))


def _decode(data: np.ndarray, flags: int, kind: str) -> np.ndarray:
    pixels = cv2.imdecode(np.asarray(data, dtype=np.uint8), flags) if len(data) else None
    if pixels is None:
        raise SequenceError(
            "bad_image",
            f"compressed image of format {kind!r} cannot be decoded ({len(data)} bytes): the recording is damaged",
        )
    return pixels
