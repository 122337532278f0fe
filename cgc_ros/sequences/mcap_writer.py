"""Any recording as a rosbag2 recording (MCAP), to play to the node or to read again; no ROS is needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.conversion import (
    Conversion,
    depth_millimetres,
    label_ids,
    picture_bytes,
    png_bytes,
    stored_frames,
    world_pose,
)
from cgc_ros.sequences.robot_track import RobotSample, RobotTrack

MAP_FRAME, CAMERA_FRAME = "map", "camera_optical_frame"
_RATE_HZ = 5.0  # of stamps that are made here
_SECOND = 1_000_000_000
_FOREVER = QosTime(9223372036, 854775807)
_DEPTH_HEADER = bytes(12)  # compressedDepth's: a format and two parameters, which 16UC1 does not use
_STORE = get_typestore(Stores.ROS2_JAZZY)
_POINT_FIELDS = {"<f4": 7, "<f8": 8, "<u4": 6}  # sensor_msgs/PointField


class _Topic(NamedTuple):
    name: str
    type: str
    latched: bool = False


_TF = _Topic("/tf", "tf2_msgs/msg/TFMessage")
_INFO = _Topic("/camera/color/camera_info", "sensor_msgs/msg/CameraInfo")
_COLOR = _Topic("/camera/color/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
_DEPTH = _Topic("/camera/aligned_depth_to_color/image_raw/compressedDepth", "sensor_msgs/msg/CompressedImage")
_MASKS = _Topic("/masks/compressed", "sensor_msgs/msg/CompressedImage")
_IGNORE = _Topic("/ignore/compressed", "sensor_msgs/msg/CompressedImage")
_INSTANCES = _Topic("/truth/instances/compressed", "sensor_msgs/msg/CompressedImage")
_LABELS = _Topic("/truth/labels", "std_msgs/msg/String", latched=True)
_ROBOT = _Topic("/robot_description", "std_msgs/msg/String", latched=True)
_JOINTS = _Topic("/joint_states", "sensor_msgs/msg/JointState")
_POINTS = _Topic("/truth/object_points", "sensor_msgs/msg/PointCloud2", latched=True)


def write_mcap(
    sequence: Sequence, out: Path, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> Conversion:
    """Write `out`, a lone .mcap file where that is its suffix, else a rosbag2 folder.

    Images are JPEG or PNG files as they are, else PNG; depth is 16UC1, millimetres; poses are tf's `map` to
    `camera_optical_frame`, in the recording's own world. Stamps that do not increase, and those of the first second,
    which ROS takes for none, are made anew.
    """
    if out.exists():
        raise SequenceError("exists", f"{out} exists already: choose another name with --out")
    conversion = Conversion()
    folder = out.with_name(f".{out.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Writer(folder / out.stem, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            _Recorder(writer).write(sequence, conversion, on_frame)
        if out.suffix == ".mcap":
            next((folder / out.stem).glob("*.mcap")).rename(out)
        else:
            (folder / out.stem).rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return conversion


class _Recorder:
    """Messages of one recording, written at their header's stamps."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._connections: dict[str, Connection] = {}

    def write(self, sequence: Sequence, conversion: Conversion, on_frame: Callable[[int, int], None]) -> None:
        stamps = _stamps(sequence, conversion)
        self._truth(sequence, stamps[0])
        if any(sequence.is_held_out(index) != (index % 8 == 7) for index in range(len(sequence))):
            conversion.told.append("held-out frames are not kept: of a bag every eighth is held out")
        track, shift = self._robot(sequence, stamps, conversion)
        for index, frame in stored_frames(sequence, conversion, on_frame):
            stamp = stamps[index]
            for sample in track.until(frame.stamp_ns) if track else ():
                self._robot_sample(sample, sample.stamp_ns + shift)
            self._send(_TF, stamp, transforms=[_transform(stamp, MAP_FRAME, CAMERA_FRAME, world_pose(sequence, frame))])
            self._camera_info(stamp, frame.intrinsics)
            suffix, picture = picture_bytes(sequence, index, frame)
            self._image(_COLOR, stamp, f"rgb8; {'jpeg' if suffix == '.jpg' else 'png'} compressed bgr8", picture)
            self._label_images(sequence, index, frame, stamp, conversion)

    def _label_images(self, sequence: Sequence, index: int, frame: Frame, stamp: int, conversion: Conversion) -> None:
        if frame.depth is not None:
            depth = _DEPTH_HEADER + png_bytes(depth_millimetres(frame.depth, conversion))
            self._image(_DEPTH, stamp, "16UC1; compressedDepth png", depth)
        if frame.masks is not None:
            self._image(_MASKS, stamp, "16UC1; png compressed ", png_bytes(label_ids(frame.masks)))
        if frame.ignore is not None:
            self._image(_IGNORE, stamp, "mono8; png compressed ", png_bytes(frame.ignore.astype(np.uint8) * 255))
        instances = None if sequence.truth is None else sequence.load_instances(index)
        if instances is not None:
            self._image(_INSTANCES, stamp, "16UC1; png compressed ", png_bytes(instances.astype(np.uint16)))

    def _robot(self, sequence: Sequence, stamps: list[int], conversion: Conversion) -> tuple[RobotTrack | None, int]:
        """The recording's robot, and how far its stamps move along with the images'."""
        if sequence.robot is None:
            return None, 0
        recorded = [info.stamp_ns for info in sequence.frames]
        shifts = {stamp - earlier for stamp, earlier in zip(stamps, recorded, strict=True)}
        if len(shifts) > 1:
            conversion.told.append("the robot is left out: its joint states do not fit to stamps that are made anew")
            return None, 0
        self._send(_ROBOT, stamps[0], data=sequence.robot.model.urdf)
        conversion.told.append("the robot's meshes are no part of a bag: put them into robot/ in or beside it")
        return RobotTrack(sequence.robot, recorded, MAP_FRAME), shifts.pop()

    def _robot_sample(self, sample: RobotSample, stamp: int) -> None:
        if sample.positions:
            self._send(
                _JOINTS,
                stamp,
                header=_header(stamp, ""),
                name=list(sample.positions),
                position=np.array([*sample.positions.values()]),
                velocity=np.empty(0),
                effort=np.empty(0),
            )
        self._send(_TF, stamp, transforms=[_transform(stamp, *edge) for edge in sample.transforms])

    def _truth(self, sequence: Sequence, stamp: int) -> None:
        if sequence.truth is None:
            return
        labels = {str(label): {"name": name, "kind": kind} for label, (name, kind) in sequence.truth.labels.items()}
        self._send(_LABELS, stamp, data=json.dumps(labels))
        if sequence.truth.object_points:
            self._send(_POINTS, stamp, **_cloud(stamp, sequence.truth.object_points, sequence.origin))

    def _camera_info(self, stamp: int, camera: Intrinsics) -> None:
        k = camera.matrix()
        plain = camera.distortion_model in ("", "none")
        self._send(
            _INFO,
            stamp,
            header=_header(stamp, CAMERA_FRAME),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob" if plain else camera.distortion_model,
            d=np.array(camera.distortion if any(camera.distortion) else [0.0] * (5 if plain else 4)),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([k, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=_make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )

    def _image(self, topic: _Topic, stamp: int, kind: str, data: bytes) -> None:
        self._send(topic, stamp, header=_header(stamp, CAMERA_FRAME), format=kind, data=np.frombuffer(data, np.uint8))

    def _send(self, topic: _Topic, stamp: int, **fields) -> None:
        if topic.name not in self._connections:
            self._connections[topic.name] = self._writer.add_connection(
                topic.name, topic.type, typestore=_STORE, offered_qos_profiles=[_qos(topic.latched)]
            )
        data = _STORE.serialize_cdr(_make(topic.type, **fields), topic.type)
        self._writer.write(self._connections[topic.name], stamp, data)


def _stamps(sequence: Sequence, conversion: Conversion) -> list[int]:
    stamps = [info.stamp_ns for info in sequence.frames]
    if any(later <= earlier for earlier, later in zip(stamps, stamps[1:], strict=False)):
        conversion.told.append(f"stamps do not increase from frame to frame: new ones are made, at {_RATE_HZ:g} Hz")
        stamps = [round(index * _SECOND / _RATE_HZ) for index in range(len(stamps))]
    return [stamp + _SECOND for stamp in stamps] if stamps[0] < _SECOND else stamps


def _make(kind: str, **fields):
    return _STORE.types[kind](**fields)


def _header(stamp: int, frame_id: str):
    time = _make("builtin_interfaces/msg/Time", sec=stamp // _SECOND, nanosec=stamp % _SECOND)
    return _make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def _transform(stamp: int, parent: str, child: str, pose: np.ndarray):
    tx, ty, tz = pose[:3, 3].tolist()
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    return _make(
        "geometry_msgs/msg/TransformStamped",
        header=_header(stamp, parent),
        child_frame_id=child,
        transform=_make(
            "geometry_msgs/msg/Transform",
            translation=_make("geometry_msgs/msg/Vector3", x=tx, y=ty, z=tz),
            rotation=_make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )


def _cloud(stamp: int, points: dict[int, np.ndarray], origin: np.ndarray) -> dict:
    """Fields of a PointCloud2 of x, y, z and label, in double precision where the origin is far."""
    kind = "<f8" if origin.any() else "<f4"
    names = ("x", "y", "z", "label")
    layout = np.dtype(list(zip(names, (kind, kind, kind, "<u4"), strict=True)))
    cloud = np.empty(sum(map(len, points.values())), layout)
    positions = np.concatenate([*points.values()]).astype(np.float64) + origin
    cloud["x"], cloud["y"], cloud["z"] = positions.T
    cloud["label"] = np.repeat(list(points), [len(each) for each in points.values()])
    fields = [
        _make(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=sum(layout[before].itemsize for before in names[: names.index(name)]),
            datatype=_POINT_FIELDS[layout[name].str],
            count=1,
        )
        for name in names
    ]
    return {
        "header": _header(stamp, MAP_FRAME),
        "height": 1,
        "width": len(cloud),
        "fields": fields,
        "is_bigendian": False,
        "point_step": layout.itemsize,
        "row_step": layout.itemsize * len(cloud),
        "data": np.frombuffer(cloud.tobytes(), np.uint8),
        "is_dense": True,
    }


def _qos(latched: bool) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )
