"""The recording's messages, as rosbags types of ROS 2 Jazzy. Stamps in nanoseconds, poses as [4, 4] matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.typesys import Stores, get_typestore

from make_recording.camera_path import quaternion_xyzw

OPTICAL_FRAME = "camera_optical_frame"
TYPES = get_typestore(Stores.ROS2_JAZZY)

_T = TYPES.types
_FOREVER = QosTime(9223372036, 854775807)
_FLOAT32, _UINT32 = 7, 6  # sensor_msgs/PointField
_COMPRESSED_DEPTH_HEADER = np.zeros(
    12, np.uint8
)  # int32 format (0: INV_DEPTH), two float32 parameters, unused for 16UC1


@dataclass(frozen=True)
class Topic:
    """A topic's name, type, and whether late joiners get its last message (transient local)."""

    name: str
    type: str
    latched: bool = False

    @property
    def qos(self) -> Qos:
        durability = QosDurability.TRANSIENT_LOCAL if self.latched else QosDurability.VOLATILE
        return Qos(
            QosHistory.KEEP_LAST,
            1 if self.latched else 10,
            QosReliability.RELIABLE,
            durability,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )


def transform(stamp_ns: int, parent: str, child: str, parent_from_child: np.ndarray):
    """geometry_msgs/TransformStamped."""
    x, y, z, w = quaternion_xyzw(parent_from_child[:3, :3]).tolist()
    translation = _T["geometry_msgs/msg/Vector3"](*parent_from_child[:3, 3].tolist())
    return _T["geometry_msgs/msg/TransformStamped"](
        header(stamp_ns, parent),
        child,
        _T["geometry_msgs/msg/Transform"](translation, _T["geometry_msgs/msg/Quaternion"](x, y, z, w)),
    )


def tf_message(transforms: list):
    """tf2_msgs/TFMessage."""
    return _T["tf2_msgs/msg/TFMessage"](transforms)


def camera_info(stamp_ns: int, intrinsics: dict):
    """sensor_msgs/CameraInfo of a pinhole camera; `intrinsics` is the content of intrinsics.json."""
    fx, fy, cx, cy = (intrinsics[k] for k in ("fx", "fy", "cx", "cy"))
    return _T["sensor_msgs/msg/CameraInfo"](
        header(stamp_ns, OPTICAL_FRAME),
        intrinsics["height"],
        intrinsics["width"],
        intrinsics["distortion_model"],
        np.array(intrinsics["distortion"], float),
        np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]),
        np.eye(3).ravel(),
        np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]),
        0,
        0,
        _T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def compressed_image(stamp_ns: int, kind: str, data: np.ndarray):
    """sensor_msgs/CompressedImage; `kind` is its format as compressed_image_transport writes it."""
    return _T["sensor_msgs/msg/CompressedImage"](header(stamp_ns, OPTICAL_FRAME), kind, data)


def compressed_depth(stamp_ns: int, png: np.ndarray):
    """sensor_msgs/CompressedImage as compressed_depth_image_transport writes 16UC1: 12 bytes of header, then png."""
    return compressed_image(stamp_ns, "16UC1; compressedDepth png", np.concatenate([_COMPRESSED_DEPTH_HEADER, png]))


def labelled_cloud(stamp_ns: int, frame: str, points: dict[int, np.ndarray]):
    """sensor_msgs/PointCloud2 with float32 x y z [m] and uint32 label, of label -> points [P, 3]."""
    layout = np.dtype([("xyz", "<f4", 3), ("label", "<u4")])
    cloud = np.concatenate([np.zeros(0, layout), *(_labelled(layout, label, xyz) for label, xyz in points.items())])
    names = (("x", 0, _FLOAT32), ("y", 4, _FLOAT32), ("z", 8, _FLOAT32), ("label", 12, _UINT32))
    fields = [_T["sensor_msgs/msg/PointField"](name, offset, datatype, 1) for name, offset, datatype in names]
    step, data = layout.itemsize, cloud.view(np.uint8)
    return _T["sensor_msgs/msg/PointCloud2"](
        header(stamp_ns, frame), 1, len(cloud), fields, False, step, len(data), data, True
    )


def string(text: str):
    """std_msgs/String."""
    return _T["std_msgs/msg/String"](text)


def header(stamp_ns: int, frame: str):
    """std_msgs/Header."""
    return _T["std_msgs/msg/Header"](_T["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000)), frame)


def _labelled(layout: np.dtype, label: int, xyz: np.ndarray) -> np.ndarray:
    made = np.zeros(len(xyz), layout)
    made["xyz"], made["label"] = xyz, label
    return made
