"""Bags as people have them: each kind of trouble gives the right frames, or one line that names it."""

from __future__ import annotations

import cv2
import made_messages
import numpy as np
import pytest
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, BagWriter, Ros1BagWriter, Scene, png
from test_sequences_bag import BASE_FROM_CAMERA, CAMERA, assert_frames, write_images, write_info, write_plain, write_tf

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import SequenceError, open_sequence

IMAGE, INFO, DEPTH = "/camera/image_raw", "/camera/camera_info", "/camera/depth/image_raw"
PLAIN = Intrinsics(WIDTH, HEIGHT, FX, FY, CX, CY)
RATIONAL = (0.3, -0.1, 1e-3, 1e-3, 0.01, 0.5, -0.05, 0.02)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def jpeg(array: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", array)[1].tobytes()


def in_millimetres(scene: Scene, index: int) -> np.ndarray:
    return np.round(scene.depth_m(index) * 1000).astype(np.uint16)


def recorded(path, scene, **info):
    """Images, poses and a camera_info with these fields."""
    with BagWriter(path) as bag:
        write_images(bag, scene)
        write_info(bag, scene, **info)
        write_tf(bag, scene)
    return open_sequence(path)


@pytest.mark.parametrize(
    ("info", "lens"),
    [
        ({"distortion": (-0.2, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)}, ("plumb_bob", (-0.2, 0.01, 0.0, 0.0))),
        ({"distortion": ()}, ("none", ())),
        ({"model": "equidistant", "distortion": (0.02, 0.0, 0.0, 0.0, 0.0)}, ("equidistant", (0.02, 0.0, 0.0, 0.0))),
        ({"distortion": RATIONAL}, ("rational_polynomial", RATIONAL)),
    ],
)
def test_coefficients_are_those_of_the_model_that_has_as_many(tmp_path, scene, info, lens):
    sequence = recorded(tmp_path / "run", scene, **info)
    stored = sequence.frames[0].intrinsics
    assert (stored.distortion_model, stored.distortion) == lens
    assert len(sequence) == scene.count and sequence[0].intrinsics.distortion_model == "none"
    assert [("plumb_bob with 8" in text) for text in sequence.warnings] == [True] * (info["distortion"] == RATIONAL)


def test_depth_as_jpeg_costs_the_depth_alone_with_one_warning(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        for index in range(scene.count):
            picture = jpeg(np.full((HEIGHT, WIDTH), 90, np.uint8))
            bag.compressed(f"{DEPTH}/compressed", scene.stamp_ns(index), CAMERA, picture, "16UC1; jpeg compressed ")
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert not sequence.has_depth and len(sequence.warnings) == 1
    assert f"depth is left out: {DEPTH}/compressed" in sequence.warnings[0] and "JPEG" in sequence.warnings[0]
    said = open_sequence(tmp_path / "run", depth_topic=f"{DEPTH}/compressed")
    assert_frames(said, scene)
    assert said[0].depth is None and len(said.warnings) == 1 and "JPEG" in said.warnings[0]


@pytest.mark.parametrize("kind", ["png", "rvl"])
def test_of_two_depth_topics_the_good_one_is_taken(tmp_path, scene, kind):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        for index in range(scene.count):
            stamp, counts = scene.stamp_ns(index), in_millimetres(scene, index)
            picture = jpeg(np.full((HEIGHT, WIDTH), 90, np.uint8))
            bag.compressed("/camera/aligned_depth/image_raw/compressed", stamp, CAMERA, picture, "jpeg")
            data = made_messages.rvl(counts).data.tobytes() if kind == "rvl" else bytes(12) + png(counts)
            bag.compressed(f"{DEPTH}/compressedDepth", stamp, CAMERA, data, f"16UC1; compressedDepth {kind}")
    sequence = open_sequence(tmp_path / "run")
    np.testing.assert_allclose(sequence[4].depth, scene.depth_m(4), atol=5e-4)
    assert sequence.warnings == ()


def test_one_damaged_depth_image_costs_the_depth_of_one_frame(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        for index in range(scene.count):
            data = made_messages.rvl(in_millimetres(scene, index)).data.tobytes()
            data = data[:30] if index in (0, 3) else data
            bag.compressed(
                f"{DEPTH}/compressedDepth", scene.stamp_ns(index), CAMERA, data, "16UC1; compressedDepth rvl"
            )
    sequence = open_sequence(tmp_path / "run")
    assert [frame.depth is None for frame in sequence] == [index in (0, 3) for index in range(scene.count)]
    assert len(sequence.warnings) == 1 and "frames play without depth" in sequence.warnings[0]


def test_depth_of_another_aspect_costs_the_depth_alone(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.image(DEPTH, scene.stamp_ns(0), CAMERA, scene.depth_m(0)[:30], "32FC1")
    sequence = open_sequence(tmp_path / "run")
    assert sequence[0].depth is None and "another aspect" in sequence.warnings[0]


def test_depth_in_other_units_has_an_option(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        write_tf(bag, scene)
        bag.image(DEPTH, scene.stamp_ns(0), CAMERA, np.full((HEIGHT, WIDTH), 10_000, np.uint16), "Z16")
    assert open_sequence(tmp_path / "run")[0].depth.max() == pytest.approx(10.0)
    assert open_sequence(tmp_path / "run", depth_unit=0.0002)[0].depth.max() == pytest.approx(2.0)
    with pytest.raises(SequenceError, match="depth_unit=5000"):
        open_sequence(tmp_path / "run", depth_unit=5000.0)


@pytest.mark.parametrize("in_a_folder", [False, True])
def test_ros_1_bags_are_read(tmp_path, scene, in_a_folder):
    (tmp_path / "run").mkdir()
    with Ros1BagWriter(tmp_path / "run" / "run.bag") as bag:
        write_images(bag, scene)
        write_info(bag, scene, distortion=(-0.2, 0.01, 0.0, 0.0, 0.0))
        write_tf(bag, scene)
        for index in range(scene.count):
            bag.image(DEPTH, scene.stamp_ns(index), CAMERA, in_millimetres(scene, index), "16UC1")
    sequence = open_sequence(tmp_path / "run" if in_a_folder else tmp_path / "run" / "run.bag")
    assert len(sequence) == scene.count and sequence.warnings == ()
    np.testing.assert_allclose(sequence[3].world_from_camera, scene.poses[3], atol=1e-9)
    assert sequence.frames[0].intrinsics.distortion_model == "plumb_bob" and sequence[3].depth is not None


def test_a_leading_slash_means_the_same_frame_everywhere(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        for index in range(scene.count):
            bag.image(IMAGE, scene.stamp_ns(index), f"/{CAMERA}", scene.image(index), "rgb8")
            bag.image(DEPTH, scene.stamp_ns(index), CAMERA, scene.depth_m(index), "32FC1")
        write_info(bag, scene)
        write_tf(bag, scene)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.has_depth and sequence.warnings == ()
    assert_frames(open_sequence(tmp_path / "run", camera_frame=f"/{CAMERA}", map_frame="/map"), scene)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"binning_x": 2, "binning_y": 2}, PLAIN),
        (
            {"binning_x": 2, "binning_y": 2, "width": 2 * WIDTH, "height": 2 * HEIGHT},
            Intrinsics(WIDTH, HEIGHT, FX / 2, FY / 2, (CX + 0.5) / 2 - 0.5, (CY + 0.5) / 2 - 0.5),
        ),
        (
            {"region": (10, 20, WIDTH, HEIGHT), "width": 3 * WIDTH, "height": 3 * HEIGHT},
            Intrinsics(WIDTH, HEIGHT, FX, FY, CX - 10, CY - 20),
        ),
    ],
    ids=["unbinned already", "binned", "cut"],
)
def test_binning_and_region_of_interest_are_applied_as_the_image_has_them(tmp_path, scene, info, expected):
    sequence = recorded(tmp_path / "run", scene, **info)
    assert_frames(sequence, scene)
    assert sequence[0].intrinsics == expected and sequence.warnings == ()


def test_images_scaled_after_their_calibration_have_it_scaled_and_say_so(tmp_path, scene):
    sequence = recorded(tmp_path / "run", scene, width=2 * WIDTH, height=2 * HEIGHT)
    assert sequence[0].intrinsics == Intrinsics(2 * WIDTH, 2 * HEIGHT, FX, FY, CX, CY).scaled_to(WIDTH, HEIGHT)
    assert len(sequence.warnings) == 1 and "the calibration is scaled to it" in sequence.warnings[0]


def test_what_is_there_of_k_and_p_is_used_and_rectified_can_be_said(tmp_path, scene):
    only_p = recorded(tmp_path / "only_p", scene, k=np.zeros(9))
    assert only_p[0].intrinsics == Intrinsics(WIDTH, HEIGHT, FX / 2, FY / 2, CX, CY)
    assert "no K: P is used" in only_p.warnings[0]
    bent = (-0.2, 0.01, 0.0, 0.0, 0.0)
    only_k = recorded(tmp_path / "only_k", scene, p=np.zeros(12), distortion=bent)
    assert only_k.frames[0].intrinsics.fx == FX and only_k.warnings == ()
    said = open_sequence(tmp_path / "only_k", rectified="true")
    assert said[0].intrinsics == PLAIN and "no P: K is used" in said.warnings[0]
    recorded(tmp_path / "both", scene, distortion=bent)
    assert open_sequence(tmp_path / "both", rectified="true")[0].intrinsics.fx == FX / 2
    with pytest.raises(SequenceError, match="rectified=maybe: say one of auto, true, false"):
        open_sequence(tmp_path / "both", rectified="maybe")
    with pytest.raises(SequenceError, match="uncalibrated") as caught:
        recorded(tmp_path / "neither", scene, k=np.zeros(9), p=np.zeros(12))
    assert caught.value.reason == "bad_intrinsics"


def two_robots(path, scene, image="/robot1/camera/image_raw", static_in_namespace=True):
    """Both have the same names of frames; the second stands ten metres off."""
    away = np.eye(4)
    away[0, 3] = 10.0
    with BagWriter(path) as bag:
        write_images(bag, scene, image)
        write_info(bag, scene, image.rpartition("/")[0] + "/camera_info")
        for robot in ("robot2", "robot1"):
            static = f"/{robot}/tf_static" if static_in_namespace else "/tf_static"
            bag.transform(static, scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
            for index in range(scene.count):
                pose = (away if robot == "robot2" else np.eye(4)) @ scene.poses[index]
                bag.transform(
                    f"/{robot}/tf", scene.stamp_ns(index), "map", "base", pose @ np.linalg.inv(BASE_FROM_CAMERA)
                )


@pytest.mark.parametrize("static_in_namespace", [True, False])
def test_transforms_are_those_of_the_cameras_own_robot(tmp_path, scene, static_in_namespace):
    two_robots(tmp_path / "run", scene, static_in_namespace=static_in_namespace)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.warnings == ("poses are read from /robot1/tf, not /robot2/tf (tf_topic= chooses)",)
    other = open_sequence(tmp_path / "run", tf_topic="/robot2/tf")
    assert other[3].world_from_camera[0, 3] == pytest.approx(scene.poses[3][0, 3] + 10.0) and other.warnings == ()


def test_a_robot_whose_transforms_are_in_a_namespace_is_read(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene)
        write_info(bag, scene)
        bag.transform("/robot1/tf_static", scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
        for index in range(scene.count):
            pose = scene.poses[index] @ np.linalg.inv(BASE_FROM_CAMERA)
            bag.transform("/robot1/tf", scene.stamp_ns(index), "map", "base", pose)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.warnings == ()
    with pytest.raises(SequenceError, match=r"tf_topic '/tf' has no transforms here; topics: .*/robot1/tf"):
        open_sequence(tmp_path / "run", tf_topic="/tf")


def test_odometry_is_that_of_the_cameras_own_robot(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        write_images(bag, scene, "/robot1/camera/image_raw")
        write_info(bag, scene, "/robot1/camera/camera_info")
        bag.transform("/tf_static", scene.stamp_ns(0), "base", CAMERA, BASE_FROM_CAMERA)
        for index in range(scene.count):
            stamp, pose = scene.stamp_ns(index), scene.poses[index] @ np.linalg.inv(BASE_FROM_CAMERA)
            for late in (0, 1):  # the other robot has the most messages
                bag.odometry("/robot2/odom", stamp + late, "odom", "base", np.eye(4))
            bag.odometry("/robot1/odom", stamp, "odom", "base", pose)
    sequence = open_sequence(tmp_path / "run")
    assert_frames(sequence, scene)
    assert sequence.warnings == ("poses are read from /robot1/odom, not /robot2/odom (pose_topic= chooses)",)


def test_a_compressed_mosaic_has_its_colours(tmp_path, scene):
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    mosaic[0::2, 0::2] = 200  # red alone
    with BagWriter(tmp_path / "run") as bag:
        write_info(bag, scene)
        write_tf(bag, scene)
        forms = ("bayer_rggb8; png compressed ", "bayer_rggb8; jpeg compressed bgr8")
        for index, form in enumerate(forms):
            bag.compressed(f"{IMAGE}/compressed", scene.stamp_ns(index), CAMERA, png(mosaic), form)
    sequence = open_sequence(tmp_path / "run")
    assert (sequence[0].image[10, 10] == [200, 0, 0]).all()
    assert (sequence[1].image == mosaic[..., None]).all()


@pytest.mark.parametrize(("compressed", "brightest"), [(False, 9), (True, 0)])
def test_twelve_bits_in_sixteen_are_stretched_alike_in_all_frames_and_told_once(tmp_path, scene, compressed, brightest):
    """Of raw images all are looked at, of files one in ten."""
    with BagWriter(tmp_path / "run") as bag:
        for index in range(scene.count):
            stamp, pixels = scene.stamp_ns(index), np.full((HEIGHT, WIDTH), 100, np.uint16)
            pixels[5, 5] = 4095 if index == brightest else 100
            if compressed:
                bag.compressed(f"{IMAGE}/compressed", stamp, CAMERA, png(pixels), "mono16; png compressed mono16")
            else:
                bag.image(IMAGE, stamp, CAMERA, pixels, "mono16")
        write_info(bag, scene)
        write_tf(bag, scene)
    sequence = open_sequence(tmp_path / "run")
    assert [frame.image[0, 0, 0] for frame in sequence] == [6] * scene.count  # 100 / 4095 * 255
    assert sequence.warnings == ("16-bit images use 12 bits: 4095 is taken for white",)


def test_planes_are_decoded_and_their_calibration_fits(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        bag.image(IMAGE, scene.stamp_ns(0), CAMERA, planes, "nv12")  # its height is that of all planes
        write_info(bag, scene)
        write_tf(bag, scene)
    frame = open_sequence(tmp_path / "run")[0]
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and frame.intrinsics == PLAIN
    assert np.ptp(frame.image) == 0


def test_an_infrared_pair_is_mapped_in_grey_where_there_is_no_colour(tmp_path, scene):
    with BagWriter(tmp_path / "run") as bag:
        for eye in ("infra1", "infra2"):
            write_info(bag, scene, f"/camera/{eye}/camera_info")
            for index in range(scene.count):
                grey = np.full((HEIGHT, WIDTH), 50 + index, np.uint8)
                bag.image(f"/camera/{eye}/image_rect_raw", scene.stamp_ns(index), CAMERA, grey, "8UC1")
        write_tf(bag, scene)
    sequence = open_sequence(tmp_path / "run")
    assert (sequence[2].image == 52).all()
    assert sequence.warnings == (
        "several cameras were recorded; /camera/infra1/image_rect_raw is read, not /camera/infra2/image_rect_raw "
        "(image_topic= chooses)",
    )


def test_a_topic_of_another_type_is_refused_with_the_types(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    with pytest.raises(SequenceError, match="image topic '/tf' holds tf2_msgs/msg/TFMessage, not sensor_msgs"):
        open_sequence(tmp_path / "run", image_topic="/tf")


def test_a_plain_recording_has_no_warning(tmp_path, scene):
    write_plain(tmp_path / "run", scene)
    assert open_sequence(tmp_path / "run").warnings == ()
