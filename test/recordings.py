"""Small recordings that the tests write themselves, in every format that `open_sequence` reads."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT = 64, 48
FX, FY, CX, CY = 60.0, 61.0, 31.0, 23.5  # centre of the first pixel at (0, 0)


@dataclass
class Scene:
    """What was recorded: frame i has one flat colour of its own, depth 1 + i / 10 metres, and a mask in its upper left
    quarter.
    """

    count: int = 10
    poses: list[np.ndarray] = field(default_factory=list)  # world_from_camera

    def __post_init__(self):
        rng = np.random.default_rng(7)
        for index in range(self.count):
            pose = np.eye(4)
            pose[:3, :3] = Rotation.from_rotvec(0.3 * rng.normal(size=3)).as_matrix()
            pose[:3, 3] = 0.1 * index, *rng.normal(size=2)
            self.poses.append(pose)

    def stamp_ns(self, index: int) -> int:
        return 1_000_000_000_000 + index * 200_000_000

    def image(self, index: int) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, 3), (20 * index, 255 - 20 * index, 40), np.uint8)  # RGB

    def depth_m(self, index: int) -> np.ndarray:
        depth = np.full((HEIGHT, WIDTH), 1.0 + 0.1 * index, np.float32)
        depth[:, 0] = 0.0
        return depth

    def labels(self, index: int) -> np.ndarray:
        labels = np.zeros((HEIGHT, WIDTH), np.uint16)
        labels[: HEIGHT // 2, : WIDTH // 2] = 300 + index
        return labels


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def write_folder(root: Path, scene: Scene, *, depth: bool = True, masks: bool = True, truth: bool = True) -> Path:
    """The folder layout of docs/sequences.md."""
    rows = []
    for index in range(scene.count):
        name = f"{index:04d}.png"
        write_png(root / "images" / name, scene.image(index))
        if depth:
            write_png(root / "depth" / name, np.round(scene.depth_m(index) * 1000).astype(np.uint16))
        if masks:
            write_png(root / "masks" / name, scene.labels(index))
        if truth:
            write_png(root / "instances" / name, (scene.labels(index) > 0).astype(np.uint16) * 5)
        pose = scene.poses[index]
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
        rows.append([f"{scene.stamp_ns(index) / 1e9:.6f}", *pose[:3, 3], *quaternion, name])
    with open(root / "poses.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("stamp,tx,ty,tz,qx,qy,qz,qw,image".split(","))
        writer.writerows(rows)
    write_intrinsics(root)
    if truth:
        (root / "labels.json").write_text(
            json.dumps({"5": {"name": "cup", "kind": "object"}, "1": {"name": "table", "kind": "background"}})
        )
        np.savez(root / "object_points.npz", **{"5": np.ones((4, 3))})
    return root


def write_intrinsics(root: Path, **changes) -> None:
    document = {
        "fx": FX,
        "fy": FY,
        "cx": CX,
        "cy": CY,
        "width": WIDTH,
        "height": HEIGHT,
        "distortion_model": "plumb_bob",
        "distortion": [0.0] * 5,
    }
    (root / "intrinsics.json").write_text(json.dumps({**document, **changes}))


def write_nerfstudio(root: Path, scene: Scene, *, suffix: str = ".png", depth: bool = False, **document) -> Path:
    """transforms.json beside images/; `document` overrides its keys."""
    frames = []
    for index in range(scene.count):
        write_png(root / "images" / f"frame_{index}.png", scene.image(index))
        opengl = scene.poses[index] @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/frame_{index}{suffix}", "transform_matrix": opengl.tolist()})
        if depth:
            write_png(root / "depth" / f"frame_{index}.png", np.round(scene.depth_m(index) * 500).astype(np.uint16))
            frames[-1]["depth_file_path"] = f"depth/frame_{index}.png"
    if depth:
        document.setdefault("depth_unit_scale_factor", 0.002)
    default = {"fl_x": FX, "fl_y": FY, "cx": CX + 0.5, "cy": CY + 0.5, "w": WIDTH, "h": HEIGHT, "frames": frames[::-1]}
    (root / "transforms.json").write_text(json.dumps({**default, **document}))
    return root


def write_colmap(
    root: Path,
    scene: Scene,
    *,
    binary: bool,
    model: str = "PINHOLE",
    parameters=(FX, FY, CX + 0.5, CY + 0.5),
    model_name: str = "0",
    indices: Iterable[int] | None = None,
    prefix: str = "",
    with_images: bool = True,
) -> Path:
    """A project with images/ and sparse/0/; written with COLMAP's format page at hand, apart from the reader.

    `indices`: frames of the model, by default all; `prefix`: before the names of images.
    """
    folder = root / "sparse" / model_name
    folder.mkdir(parents=True)
    model_id = [
        "SIMPLE_PINHOLE",
        "PINHOLE",
        "SIMPLE_RADIAL",
        "RADIAL",
        "OPENCV",
        "OPENCV_FISHEYE",
        "FULL_OPENCV",
        "FOV",
    ].index(model)
    entries = []
    for index in range(scene.count) if indices is None else indices:
        if with_images:
            write_png(root / "images" / f"{prefix}view{index}.png", scene.image(index))
        camera_from_world = np.linalg.inv(scene.poses[index])
        x, y, z, w = Rotation.from_matrix(camera_from_world[:3, :3]).as_quat()
        entries.append((index + 1, (w, x, y, z, *camera_from_world[:3, 3]), f"{prefix}view{index}.png"))
    if binary:
        cameras = (
            struct.pack("<Q", 1)
            + struct.pack("<iiQQ", 3, model_id, WIDTH, HEIGHT)
            + struct.pack(f"<{len(parameters)}d", *parameters)
        )
        images = struct.pack("<Q", len(entries))
        for image_id, pose, name in reversed(entries):
            images += struct.pack("<i7di", image_id, *pose, 3) + name.encode() + b"\0"
            images += struct.pack("<Q", 2) + struct.pack("<ddqddq", 1.0, 2.0, 7, 3.0, 4.0, -1)
        (folder / "cameras.bin").write_bytes(cameras)
        (folder / "images.bin").write_bytes(images)
    else:
        (folder / "cameras.txt").write_text(f"# comment\n3 {model} {WIDTH} {HEIGHT} {' '.join(map(str, parameters))}\n")
        lines = ["# two lines an image"]
        for image_id, pose, name in reversed(entries):
            lines += [
                f"{image_id} {' '.join(map(repr, map(float, pose)))} 3 {name}",
                "1.0 2.0 7 3.0 4.0 -1" if image_id % 2 else "",
            ]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
    return root


class BagWriter:
    """A rosbag2 recording of messages made of plain values: `write(topic, type, fields)`, header stamps as recording
    times.
    """

    transforms_type = "tf2_msgs/msg/TFMessage"

    def __init__(self, path: Path, storage: StoragePlugin = StoragePlugin.MCAP):
        self.types = get_typestore(Stores.ROS2_JAZZY)
        self._writer = Writer(path, version=9, storage_plugin=storage)
        self._connections: dict[str, object] = {}

    def __enter__(self):
        self._writer.open()
        return self

    def __exit__(self, *_):
        self._writer.close()

    def make(self, kind: str, /, **values):
        return self.types.types[kind](**values)

    def stamp(self, stamp_ns: int):
        return self.make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)

    def header(self, stamp_ns: int, frame_id: str):
        return self.make("std_msgs/msg/Header", stamp=self.stamp(stamp_ns), frame_id=frame_id)

    def calibration_field(self, name: str) -> str:
        """A CameraInfo's field in this version of ROS."""
        return name

    def serialized(self, message) -> bytes:
        return bytes(self.types.serialize_cdr(message, message.__msgtype__))

    def write(self, topic: str, message, recorded_ns: int) -> None:
        self.write_bytes(topic, message.__msgtype__, self.serialized(message), recorded_ns)

    def write_bytes(self, topic: str, kind: str, data: bytes, recorded_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self.types)
        self._writer.write(self._connections[topic], recorded_ns, data)

    def image(
        self, topic: str, stamp_ns: int, frame_id: str, pixels: np.ndarray, encoding: str, padding: int = 0
    ) -> None:
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
        data = np.pad(rows, ((0, 0), (0, padding)), constant_values=170)
        self.write(
            topic,
            self.make(
                "sensor_msgs/msg/Image",
                header=self.header(stamp_ns, frame_id),
                height=pixels.shape[0],
                width=pixels.shape[1],
                encoding=encoding,
                is_bigendian=0,
                step=data.shape[1],
                data=data.ravel(),
            ),
            stamp_ns,
        )

    def compressed(self, topic: str, stamp_ns: int, frame_id: str, data: bytes, kind: str) -> None:
        self.write(
            topic,
            self.make(
                "sensor_msgs/msg/CompressedImage",
                header=self.header(stamp_ns, frame_id),
                format=kind,
                data=np.frombuffer(data, np.uint8),
            ),
            stamp_ns,
        )

    def camera_info(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        *,
        model: str = "plumb_bob",
        distortion=(0.0,) * 5,
        fx: float = FX,
        region=(0, 0, 0, 0),
        **changes,
    ) -> None:
        """`region`: left, top, width, height; `changes`: other fields."""
        k = np.array([fx, 0, CX, 0, FY, CY, 0, 0, 1], dtype=np.float64)
        p = np.array([fx / 2, 0, CX, 0, 0, FY / 2, CY, 0, 0, 0, 1, 0], dtype=np.float64)
        left, top, width, height = region
        size = {"width": width, "height": height}
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=left, y_offset=top, do_rectify=False, **size)
        fields = {"d": np.array(distortion, dtype=np.float64), "k": k, "r": np.eye(3).ravel(), "p": p}
        fields |= {"height": HEIGHT, "width": WIDTH, "binning_x": 0, "binning_y": 0} | changes
        self.write(
            topic,
            self.make(
                "sensor_msgs/msg/CameraInfo",
                header=self.header(stamp_ns, frame_id),
                distortion_model=model,
                roi=roi,
                **{self.calibration_field(name): value for name, value in fields.items()},
            ),
            stamp_ns,
        )

    def transform(self, topic: str, stamp_ns: int, parent: str, child: str, matrix: np.ndarray) -> None:
        x, y, z, w = (float(value) for value in Rotation.from_matrix(matrix[:3, :3]).as_quat())
        tx, ty, tz = (float(value) for value in matrix[:3, 3])
        transform = self.make(
            "geometry_msgs/msg/Transform",
            translation=self.make("geometry_msgs/msg/Vector3", x=tx, y=ty, z=tz),
            rotation=self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )
        stamped = self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp_ns, parent),
            child_frame_id=child,
            transform=transform,
        )
        self.write(topic, self.make(self.transforms_type, transforms=[stamped]), stamp_ns)

    def pose(self, matrix: np.ndarray):
        x, y, z, w = (float(value) for value in Rotation.from_matrix(matrix[:3, :3]).as_quat())
        tx, ty, tz = (float(value) for value in matrix[:3, 3])
        return self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=tx, y=ty, z=tz),
            orientation=self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )

    def odometry(self, topic: str, stamp_ns: int, parent: str, child: str, matrix: np.ndarray) -> None:
        zero = self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        pose = self.make("geometry_msgs/msg/PoseWithCovariance", pose=self.pose(matrix), covariance=np.zeros(36))
        twist = self.make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero),
            covariance=np.zeros(36),
        )
        self.write(
            topic,
            self.make(
                "nav_msgs/msg/Odometry",
                header=self.header(stamp_ns, parent),
                child_frame_id=child,
                pose=pose,
                twist=twist,
            ),
            stamp_ns,
        )

    def pose_stamped(self, topic: str, stamp_ns: int, parent: str, matrix: np.ndarray) -> None:
        self.write(
            topic,
            self.make("geometry_msgs/msg/PoseStamped", header=self.header(stamp_ns, parent), pose=self.pose(matrix)),
            stamp_ns,
        )

    def labelled_cloud(self, topic: str, stamp_ns: int, points: np.ndarray, labels: np.ndarray) -> None:
        layout = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("label", "<u4")])
        cloud = np.empty(len(points), layout)
        cloud["x"], cloud["y"], cloud["z"] = np.asarray(points, np.float32).T
        cloud["label"] = labels
        fields = [
            self.make(
                "sensor_msgs/msg/PointField", name=name, offset=4 * index, datatype=6 if name == "label" else 7, count=1
            )
            for index, name in enumerate(layout.names)
        ]
        self.write(
            topic,
            self.make(
                "sensor_msgs/msg/PointCloud2",
                header=self.header(stamp_ns, "map"),
                height=1,
                width=len(points),
                fields=fields,
                is_bigendian=False,
                point_step=16,
                row_step=16 * len(points),
                data=np.frombuffer(cloud.tobytes(), np.uint8),
                is_dense=True,
            ),
            stamp_ns,
        )


class Ros1BagWriter(BagWriter):
    """The same as a ROS 1 bag, with transforms of the old type tf/tfMessage."""

    transforms_type = "tf/msg/tfMessage"

    def __init__(self, path: Path):
        self.types = get_typestore(Stores.ROS1_NOETIC)
        if self.transforms_type not in self.types.types:
            self.types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", self.transforms_type))
        self._writer = Ros1Writer(path)
        self._connections = {}

    def calibration_field(self, name: str) -> str:
        return name.upper() if len(name) == 1 else name

    def header(self, stamp_ns: int, frame_id: str):
        return self.make("std_msgs/msg/Header", seq=0, stamp=self.stamp(stamp_ns), frame_id=frame_id)

    def serialized(self, message) -> bytes:
        return bytes(self.types.serialize_ros1(message, message.__msgtype__))


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()
