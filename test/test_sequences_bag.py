"""rosbag2 recordings: topics found by themselves or said, poses from tf, odometry and pose topics, truth, and named
faults.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, BagWriter, Scene, png
from rosbags.rosbag2 import StoragePlugin

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import SequenceError, open_sequence

CAMERA = "camera_optical"
BASE_FROM_CAMERA = np.array(
    [[0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1.0]]
)  # REP-103: optical in a body frame


@pytest.fixture
def scene() -> Scene:
    return Scene()


def write_images(bag: BagWriter, scene: Scene, topic: str = "/camera/image_raw") -> None:
    for index in range(scene.count):
        bag.image(topic, scene.stamp_ns(index), CAMERA, scene.image(index), "rgb8")


def write_info(bag: BagWriter, scene: Scene, topic: str = "/camera/camera_info", **options) -> None:
    bag.camera_info(topic, scene.stamp_ns(0), CAMERA, **options)


def write_tf(bag: BagWriter, scene: Scene) -> None:
    """map -> base moves, base -> camera is mounted."""
    bag.transform("/tf_static", scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
    for index in range(scene.count):
        bag.transform("/tf", scene.stamp_ns(index), "map", "base", scene.poses[index] @ np.linalg.inv(BASE_FROM_CAMERA))


def write_plain(path, scene: Scene, storage: StoragePlugin = StoragePlugin.MCAP) -> None:
    with BagWriter(path, storage) as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)


def assert_frames(sequence, scene: Scene, indices=None) -> None:
    indices = range(scene.count) if indices is None else indices
    assert [frame.stamp_ns for frame in sequence.frames] == [scene.stamp_ns(index) for index in indices]
    for frame, index in zip(sequence, indices, strict=True):
        np.testing.assert_array_equal(frame.image, scene.image(index))
        np.testing.assert_allclose(frame.world_from_camera, scene.poses[index], atol=1e-9)


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_images_get_the_pose_of_the_camera_in_the_root_frame(tmp_path, scene, storage):
    write_plain(tmp_path / "run", scene, storage)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence[0].intrinsics == Intrinsics(WIDTH, HEIGHT, FX, FY, CX, CY)
    assert (sequence.metric_scale, sequence.has_depth, sequence.has_masks, sequence.truth) == (True, False, False, None)
    assert (sequence.warnings, sequence.name) == ((), "run")
    assert [index for index in range(scene.count) if sequence.is_held_out(index)] == [7]


def test_a_lone_mcap_file_can_be_opened(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    assert_frames(open_sequence(next((tmp_path / "run").glob("*.mcap"))), scene)
    (tmp_path / "run" / "metadata.yaml").unlink()
    assert_frames(open_sequence(tmp_path / "run"), scene)


def test_poses_are_interpolated_at_the_stamp_of_the_image(tmp_path, scene):
    start, end = np.eye(4), np.eye(4)
    end[0, 3] = 1.0
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        bag.transform("/tf", scene.stamp_ns(0), "map", CAMERA, start)
        bag.transform("/tf", scene.stamp_ns(4), "map", CAMERA, end)
    sequence = open_sequence(tmp_path / "run")
    np.testing.assert_allclose(
        [frame.world_from_camera[0, 3] for frame in sequence.frames], [0.0, 0.25, 0.5, 0.75, 1.0]
    )
    assert "5 of 10 images are left out, extrapolation_future" in sequence.warnings[0]


def test_another_map_frame_can_be_said(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    frame = open_sequence(tmp_path / "run", map_frame="base")[3]
    np.testing.assert_allclose(frame.world_from_camera, BASE_FROM_CAMERA, atol=1e-12)


def test_odometry_moves_the_camera_where_tf_only_mounts_it(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        bag.transform("/tf_static", scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
        for index in range(scene.count):
            bag.odometry(
                "/odometry", scene.stamp_ns(index), "odom", "base", scene.poses[index] @ np.linalg.inv(BASE_FROM_CAMERA)
            )
    assert_frames(open_sequence(tmp_path / "run"), scene)


def test_a_pose_topic_that_was_asked_for_wins_over_tf(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        for index in range(scene.count):
            bag.transform("/tf", scene.stamp_ns(index), "map", CAMERA, np.eye(4))
            bag.pose_stamped("/slam/pose", scene.stamp_ns(index), "map", scene.poses[index])
    assert_frames(open_sequence(tmp_path / "run", pose_topic="/slam/pose"), scene)
    np.testing.assert_array_equal(open_sequence(tmp_path / "run")[3].world_from_camera, np.eye(4))


def test_a_pose_topic_may_give_the_pose_of_another_frame(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        bag.transform("/tf_static", scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
        for index in range(scene.count):
            bag.pose_stamped(
                "/mocap", scene.stamp_ns(index), "world", scene.poses[index] @ np.linalg.inv(BASE_FROM_CAMERA)
            )
    assert_frames(open_sequence(tmp_path / "run", pose_frame="base"), scene)


@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("bgr8", [[[10, 20, 30]]], [30, 20, 10]),
        ("rgba8", [[[10, 20, 30, 99]]], [10, 20, 30]),
        ("mono8", [[7]], [7, 7, 7]),
        ("8UC3", [[[10, 20, 30]]], [30, 20, 10]),
        ("8UC1", [[7]], [7, 7, 7]),
    ],
)
def test_colour_encodings_become_rgb_whatever_the_padding_of_their_rows(tmp_path, scene, encoding, pixels, expected):
    pixels = np.array(pixels, np.uint8)
    image = np.tile(pixels, (HEIGHT, WIDTH, *([1] * (pixels.ndim - 2))))
    with BagWriter(tmp_path / "run") as bag:
        bag.image("/camera/image_raw", scene.stamp_ns(0), CAMERA, image, encoding, padding=5)
        write_info(bag, scene)
        write_tf(bag, scene)
    found = open_sequence(tmp_path / "run")[0].image
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert (found == expected).all()


def test_compressed_images_depth_masks_and_truth_of_the_demo_recording_are_found(tmp_path, scene):
    names = {"5": {"name": "cup", "kind": "object"}}
    with BagWriter(tmp_path / "run") as bag:
        stamp = scene.stamp_ns(0)
        bag.write("/truth/labels", bag.make("std_msgs/msg/String", data=json.dumps(names)), stamp)
        bag.labelled_cloud("/truth/object_points", stamp, np.arange(12.0).reshape(4, 3), np.array([5, 5, 5, 9]))
        write_info(bag, scene)
        write_tf(bag, scene)
        for index in range(scene.count):
            stamp = scene.stamp_ns(index)
            depth_mm = np.round(scene.depth_m(index) * 1000).astype(np.uint16)
            bag.compressed(
                "/camera/image_raw/compressed", stamp, CAMERA, png(scene.image(index)), "rgb8; png compressed bgr8"
            )
            bag.compressed(
                "/camera/depth/image_raw/compressedDepth",
                stamp,
                CAMERA,
                b"\0" * 12 + png(depth_mm),
                "16UC1; compressedDepth png",
            )
            bag.compressed("/masks/compressed", stamp, CAMERA, png(scene.labels(index)), "16UC1; png compressed")
            bag.compressed(
                "/truth/instances/compressed",
                stamp,
                CAMERA,
                png((scene.labels(index) > 0).astype(np.uint16) * 5),
                "16UC1; png compressed",
            )
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    frame = sequence[4]
    np.testing.assert_allclose(frame.depth, scene.depth_m(4), atol=5e-4)
    np.testing.assert_array_equal(frame.masks, scene.labels(4))
    np.testing.assert_array_equal(sequence.truth.instances(4) == 5, scene.labels(4) > 0)
    assert sequence.truth.labels == {5: ("cup", "object")}
    np.testing.assert_array_equal(sequence.truth.object_points[5], np.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize("kind", ["16UC1", "32FC1", "quarter size"])
def test_raw_depth_and_masks_become_metres_and_ids(tmp_path, scene, kind):
    depth = scene.depth_m(0)
    depth[5, 5], depth[6, 6] = np.nan, np.inf
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        if kind == "16UC1":
            bag.image(
                "/depth",
                scene.stamp_ns(0),
                CAMERA,
                np.nan_to_num(np.round(depth * 1000), posinf=0).astype(np.uint16),
                "16UC1",
                padding=6,
            )
        elif kind == "32FC1":
            bag.image("/depth", scene.stamp_ns(0), CAMERA, depth, "32FC1")
        else:
            bag.image("/depth", scene.stamp_ns(0), CAMERA, depth[1::4, 1::4], "32FC1")
        bag.image("/masks", scene.stamp_ns(0), CAMERA, scene.labels(0).astype(np.int32) + 70_000, "32SC1")
    frame = open_sequence(tmp_path / "run")[0]
    valid = np.isfinite(depth) & (depth > 0)
    if kind != "quarter size":
        np.testing.assert_array_equal(frame.depth > 0, valid)
    np.testing.assert_allclose(frame.depth[valid & (frame.depth > 0)], 1.0, atol=1e-3)
    assert frame.masks.max() == 70_300


def test_quantised_inverse_depth_is_decoded(tmp_path, scene):
    """compressed_depth_image_transport: value = a / depth + b."""
    a, b = 100.0 * 101.0, 1.0 - 101.0
    depth = np.linspace(0.5, 8.0, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    header = np.array([0], "<i4").tobytes() + np.array([a, b], "<f4").tobytes()
    data = header + png(np.round(a / depth + b).astype(np.uint16))
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.compressed("/depth/compressedDepth", scene.stamp_ns(0), CAMERA, data, "32FC1; compressedDepth png")
    np.testing.assert_allclose(open_sequence(tmp_path / "run")[0].depth, depth, rtol=0.005)


def test_partners_are_matched_by_stamp_within_the_tolerance(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        for index, late_ns in ((2, 5_000_000), (3, 60_000_000)):
            bag.image("/depth", scene.stamp_ns(index) + late_ns, CAMERA, scene.depth_m(index), "32FC1")
    sequence = open_sequence(tmp_path / "run")
    np.testing.assert_array_equal(sequence[2].depth, scene.depth_m(2))
    assert sequence[3].depth is None and sequence[4].depth is None
    assert open_sequence(tmp_path / "run", sync_tolerance_s=0.1)[3].depth is not None
    assert not open_sequence(tmp_path / "run", depth_topic="").has_depth


def test_depth_that_is_not_registered_to_the_colour_camera_is_left_out_and_reported(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.image("/camera/depth/image_rect_raw", scene.stamp_ns(0), "depth_optical", scene.depth_m(0), "32FC1")
    sequence = open_sequence(tmp_path / "run")
    assert not sequence.has_depth
    assert any("depth_optical" in text and "registered" in text for text in sequence.warnings)


def test_the_colour_camera_is_chosen_and_another_can_be_said(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene, "/left/image_raw")
        write_info(bag, scene, "/left/camera_info", fx=50.0)
        write_images(bag, scene, "/cam/color/image_raw")
        write_info(bag, scene, "/cam/color/camera_info")
        write_images(bag, scene, "/cgc/segmentation/overlay")
        bag.image("/cam/infra/image_rect", scene.stamp_ns(0), CAMERA, scene.image(0), "rgb8")
        write_tf(bag, scene)
    sequence = open_sequence(tmp_path / "run")
    assert sequence[0].intrinsics.fx == FX
    assert sequence.warnings == (
        "several cameras were recorded; /cam/color/image_raw is read, not /left/image_raw (image_topic= chooses)",
    )
    assert open_sequence(tmp_path / "run", image_topic="/left/image_raw")[0].intrinsics.fx == 50.0


def test_a_rectified_topic_is_described_by_the_projection_matrix(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene, "/camera/image_rect_color")
        write_info(bag, scene, distortion=(-0.2, 0.01, 0.0, 0.0, 0.0))
        write_tf(bag, scene)
    assert open_sequence(tmp_path / "run")[0].intrinsics == Intrinsics(WIDTH, HEIGHT, FX / 2, FY / 2, CX, CY)


def test_a_raw_topic_is_undistorted(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene, distortion=(-0.2, 0.01, 0.0, 0.0, 0.0))
        write_tf(bag, scene)
    sequence = open_sequence(tmp_path / "run")
    assert any(sequence.frames[0].intrinsics.distortion) and not any(sequence[0].intrinsics.distortion)


def test_images_recorded_in_one_instant_and_out_of_order_are_told_apart(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_info(bag, scene)
        write_tf(bag, scene)
        for index in (2, 0, 1):
            message = bag.make(
                "sensor_msgs/msg/Image",
                header=bag.header(scene.stamp_ns(index), CAMERA),
                height=HEIGHT,
                width=WIDTH,
                encoding="rgb8",
                is_bigendian=0,
                step=3 * WIDTH,
                data=scene.image(index).ravel(),
            )
            bag.write("/camera/image_raw", message, scene.stamp_ns(5))
    assert_frames(open_sequence(tmp_path / "run"), scene, range(3))


def test_a_frame_that_cannot_be_decoded_fails_alone(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.compressed("/camera/image_raw/compressed", scene.stamp_ns(0), CAMERA, png(scene.image(0)), "png")
        bag.compressed("/camera/image_raw/compressed", scene.stamp_ns(1), CAMERA, b"broken", "png")
        bag.compressed("/camera/image_raw/compressed", scene.stamp_ns(2), CAMERA, png(scene.image(2)[:20]), "png")
    sequence = open_sequence(tmp_path / "run")
    np.testing.assert_array_equal(sequence[0].image, scene.image(0))
    with pytest.raises(SequenceError, match="/compressed, frame 00001: .*cannot be decoded"):
        sequence[1]
    with pytest.raises(SequenceError, match="64x48, the image is 64x20"):
        sequence[2]


def test_damaged_messages_are_counted_and_the_others_stay_in_place(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.write_bytes("/camera/image_raw", "sensor_msgs/msg/Image", b"\0\1\0\0cut", scene.stamp_ns(3))
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.warnings == ("1 messages of /camera/image_raw are damaged: left out",)


def test_truncated_pixels_are_named(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.write(
            "/camera/image_raw",
            bag.make(
                "sensor_msgs/msg/Image",
                header=bag.header(scene.stamp_ns(0), CAMERA),
                height=HEIGHT,
                width=WIDTH,
                encoding="rgb8",
                is_bigendian=0,
                step=3 * WIDTH,
                data=np.zeros(100, np.uint8),
            ),
            scene.stamp_ns(0),
        )
    with pytest.raises(SequenceError, match="has 100 bytes.*needs 9216"):
        open_sequence(tmp_path / "run")[0]


def test_without_transforms_the_missing_frame_and_the_topics_are_named(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
    with pytest.raises(SequenceError, match=r"camera frame 'camera_optical'.*record /tf.*/camera/image_raw") as caught:
        open_sequence(tmp_path / "run")
    assert caught.value.reason == "no_poses"


def test_transforms_that_are_not_finite_are_refused_and_counted(tmp_path, scene):
    broken = np.eye(4)
    broken[0, 3] = np.nan
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.transform("/tf", scene.stamp_ns(2) + 1, "map", "base", broken)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.warnings == ("transforms refused: 1 bad_transform",)


def test_what_a_recording_lacks_is_named(tmp_path, scene):
    with BagWriter(tmp_path / "no_info") as bag:
        write_images(bag, scene)
        write_tf(bag, scene)
    with pytest.raises(SequenceError, match="no camera_info for /camera/image_raw"):
        open_sequence(tmp_path / "no_info")
    with BagWriter(tmp_path / "no_image") as bag:
        write_info(bag, scene)
    with pytest.raises(SequenceError, match=r"no camera image.*/camera/camera_info"):
        open_sequence(tmp_path / "no_image")
    with BagWriter(tmp_path / "empty"):
        pass
    with pytest.raises(SequenceError, match="holds no messages"):
        open_sequence(tmp_path / "empty")
    with pytest.raises(SequenceError, match="image topic '/nope' has no messages"):
        open_sequence(tmp_path / "no_info", image_topic="/nope")


def test_a_recording_that_was_cut_off_is_named_with_the_remedy(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    file = next((tmp_path / "run").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(SequenceError, match="mcap recover"):
        open_sequence(tmp_path / "run")
    (tmp_path / "garbage.mcap").write_bytes(b"no recording")
    with pytest.raises(SequenceError, match="cannot be read"):
        open_sequence(tmp_path / "garbage.mcap")


def test_a_closed_recording_says_so(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    sequence = open_sequence(tmp_path / "run")
    sequence.close()
    with pytest.raises(SequenceError, match="was closed"):
        sequence[0]


def test_jpeg_images_keep_the_order_of_their_channels(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        data = cv2.imencode(".jpg", scene.image(0)[..., ::-1])[1].tobytes()
        bag.compressed("/camera/image_raw/compressed", scene.stamp_ns(0), CAMERA, data, "jpeg")
        write_info(bag, scene)
        write_tf(bag, scene)
    np.testing.assert_allclose(open_sequence(tmp_path / "run")[0].image, scene.image(0), atol=3)
