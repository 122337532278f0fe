"""The committed demo recording: small enough, complete, of standard messages, and geometrically consistent."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from make_recording.camera_path import FRAME_RATE, CameraPath  # noqa: E402

RECORDING = Path(__file__).parents[1] / "demo" / "tabletop"
OPTICAL_FRAME = "camera_optical_frame"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
PER_FRAME = {
    "/camera/color/image_raw/compressed": COMPRESSED,
    "/camera/color/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/aligned_depth_to_color/image_raw/compressedDepth": COMPRESSED,
    "/masks/compressed": COMPRESSED,
    "/truth/instances/compressed": COMPRESSED,
}
COLOR, CAMERA_INFO, DEPTH, MASKS, INSTANCES = PER_FRAME
OTHERS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/truth/labels": "std_msgs/msg/String",
    "/truth/object_points": "sensor_msgs/msg/PointCloud2",
}


@pytest.fixture(scope="module")
def bag() -> SimpleNamespace:
    """All messages by topic, the types by topic, the counts that metadata.yaml states."""
    types = get_typestore(Stores.ROS2_JAZZY)
    messages = defaultdict(list)
    with Reader(RECORDING) as reader:
        for connection, _, data in reader.messages():
            messages[connection.topic].append(types.deserialize_cdr(data, connection.msgtype))
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
        stated = {connection.topic: connection.msgcount for connection in reader.connections}
    return SimpleNamespace(messages=messages, types=kinds, stated=stated)


@pytest.fixture(scope="module")
def frames(bag) -> list[SimpleNamespace]:
    """Decoded images with the camera's pose by tf."""
    static = {t.child_frame_id: matrix(t.transform) for t in transforms(bag, "/tf_static")}
    base_from_optical = static["camera_link"] @ static[OPTICAL_FRAME]
    map_from_base = {stamp(t): matrix(t.transform) for t in transforms(bag, "/tf")}
    images = zip(*(bag.messages[topic] for topic in (COLOR, DEPTH, MASKS, INSTANCES)), strict=True)
    return [
        SimpleNamespace(
            color=decode(color.data),
            depth=decode(depth.data[12:]) * 0.001,
            masks=decode(masks.data),
            instances=decode(ids.data),
            map_from_optical=map_from_base[stamp(color)] @ base_from_optical,
        )
        for color, depth, masks, ids in images
    ]


@pytest.fixture(scope="module")
def labels(bag) -> dict[int, dict]:
    return {int(i): label for i, label in json.loads(bag.messages["/truth/labels"][0].data).items()}


@pytest.fixture(scope="module")
def object_points(bag) -> dict[int, np.ndarray]:
    cloud = bag.messages["/truth/object_points"][0]
    layout = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("label", 12, 6)]  # 7: FLOAT32, 6: UINT32
    assert [(field.name, field.offset, field.datatype) for field in cloud.fields] == layout
    rows = np.frombuffer(cloud.data.tobytes(), [("xyz", "<f4", 3), ("label", "<u4")])
    return {int(i): rows["xyz"][rows["label"] == i] for i in np.unique(rows["label"])}


def transforms(bag, *topics: str) -> list:
    return [transform for topic in topics for message in bag.messages[topic] for transform in message.transforms]


def stamp(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def matrix(transform) -> np.ndarray:
    q, t = transform.rotation, transform.translation
    made = np.eye(4)
    made[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    made[:3, 3] = t.x, t.y, t.z
    return made


def decode(data: np.ndarray) -> np.ndarray:
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def project(points_map: np.ndarray, frame: SimpleNamespace, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns [P] of the nearest pixels and depth [P], for those of points_map [N, 3] that the image shows."""
    optical_from_map = np.linalg.inv(frame.map_from_optical)
    points = points_map @ optical_from_map[:3, :3].T + optical_from_map[:3, 3]
    pixels = np.round((points / points[:, 2:]) @ k.T)[:, :2].astype(int)
    inside = (points[:, 2] > 0) & (pixels >= 0).all(1) & (pixels < frame.depth.shape[::-1]).all(1)
    return pixels[inside, 1], pixels[inside, 0], points[inside, 2]


def test_it_fits_into_eight_megabytes():
    assert sum(file.stat().st_size for file in RECORDING.rglob("*")) <= 8_000_000


def test_its_topics_have_standard_types(bag):
    assert bag.types == {**PER_FRAME, **OTHERS}


def test_message_counts_are_what_the_metadata_says(bag):
    counted = Counter({topic: len(messages) for topic, messages in bag.messages.items()})
    assert counted == bag.stated
    assert {counted[topic] for topic in PER_FRAME} == {48}
    assert [counted[topic] for topic in ("/tf_static", "/truth/labels", "/truth/object_points")] == [1, 1, 1]


def test_images_of_a_frame_share_stamp_and_frame_id_at_5_hz(bag):
    stamps = [[stamp(message) for message in bag.messages[topic]] for topic in PER_FRAME]
    assert all(row == stamps[0] for row in stamps)
    assert set(np.diff(stamps[0])) == {200_000_000}
    assert {message.header.frame_id for topic in PER_FRAME for message in bag.messages[topic]} == {OPTICAL_FRAME}


def test_transforms_are_rigid_and_form_one_chain(bag):
    edges_in_time = transforms(bag, "/tf", "/tf_static")
    edges = {(t.header.frame_id, t.child_frame_id) for t in edges_in_time}
    assert edges == {("map", "base_link"), ("base_link", "camera_link"), ("camera_link", OPTICAL_FRAME)}
    rotations = [t.transform.rotation for t in edges_in_time]
    np.testing.assert_allclose([np.linalg.norm([q.x, q.y, q.z, q.w]) for q in rotations], 1, atol=1e-12)


def test_poses_are_those_of_the_camera_path(frames):
    path = CameraPath(duration=len(frames) / FRAME_RATE)
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.map_from_optical, path.map_from_optical(index / FRAME_RATE), atol=1e-9)


def test_camera_info_is_a_pinhole_of_the_images_size(bag, frames):
    for info in bag.messages[CAMERA_INFO]:
        k = info.k.reshape(3, 3)
        assert (info.height, info.width) == frames[0].color.shape[:2] == (480, 640)
        assert k[0, 0] == k[1, 1] == pytest.approx(585)
        assert (k[0, 2], k[1, 2]) == (319.5, 239.5)  # the centre, pixel centres being at whole numbers
        assert not info.d.any() and info.distortion_model == "plumb_bob"
        np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], k)
        np.testing.assert_array_equal(info.r.reshape(3, 3), np.eye(3))


def test_depth_ids_and_masks_agree_in_size_and_type(bag, frames):
    for frame in frames:
        shapes = {frame.color.shape[:2], frame.depth.shape, frame.instances.shape, frame.masks.shape}
        assert shapes == {(480, 640)}
        assert frame.instances.dtype == frame.masks.dtype == np.uint16
        assert 0.1 < frame.depth.min() and frame.depth.max() < 6  # the room is closed: depth everywhere
    for message in bag.messages[DEPTH]:  # as compressed_depth_image_transport writes it
        assert message.format == "16UC1; compressedDepth png"
        assert bytes(message.data[12:20]) == b"\x89PNG\r\n\x1a\n"


def test_every_id_has_a_name_and_every_object_is_seen_well(frames, labels):
    seen = Counter()
    for frame in frames:
        ids, areas = np.unique(frame.instances, return_counts=True)
        assert set(ids.tolist()) <= set(labels)
        seen.update(ids[areas >= 200].tolist())
    objects = [i for i, label in labels.items() if label["kind"] == "object"]
    assert len(objects) >= 12
    assert min(seen[i] for i in objects) >= len(frames) / 2


def test_depth_poses_and_intrinsics_agree_across_views(bag, frames, labels):
    k = bag.messages[CAMERA_INFO][0].k.reshape(3, 3)
    rows, columns = (grid.ravel() for grid in np.mgrid[0:480:7, 0:640:7])
    rays = np.stack([columns, rows, np.ones_like(rows)], 1) @ np.linalg.inv(k).T
    for first, second in zip(frames, frames[1:], strict=False):
        points = rays * first.depth[rows, columns][:, None]
        points = points @ first.map_from_optical[:3, :3].T + first.map_from_optical[:3, 3]
        y, x, z = project(points, second, k)
        difference = np.abs(z - second.depth[y, x])
        # Depth is rounded to 1 mm, points to the nearest pixel, which adds to it on slanted surfaces.
        assert np.median(difference) < 0.003
        assert (difference < 0.02).mean() > 0.75


def test_object_points_lie_on_their_objects(bag, frames, object_points, labels):
    k = bag.messages[CAMERA_INFO][0].k.reshape(3, 3)
    assert set(object_points) == {i for i, label in labels.items() if label["kind"] == "object"}
    for i, points in object_points.items():
        assert 1000 < len(points) <= 2000
        assert 0.04 < np.ptp(points, axis=0).max() < 0.32  # metres
        on_surface, same = 0, 0
        for frame in frames[::6]:
            y, x, z = project(points, frame, k)
            near = np.abs(z - frame.depth[y, x]) < 0.003
            on_surface, same = on_surface + near.sum(), same + (frame.instances[y, x][near] == i).sum()
        assert same / on_surface > 0.9, labels[i]["name"]


def test_masks_disagree_from_frame_to_frame(frames):
    """Where a mask covers a truth region best, their IoU is far from 1 often enough, and ids do not hold."""
    missing, table_ids = [], []
    for frame in frames:
        table = np.bincount(frame.masks[frame.instances == 1])
        table_ids.append(int(table.argmax()))
        for i in np.unique(frame.instances):
            region = frame.instances == i
            if region.sum() > 500:
                missing.append((frame.masks[region] == 0).mean() > 0.5)
    assert len(set(table_ids)) > 10
    assert 0.1 < np.mean(missing) < 0.3  # 20% are left out
