"""`cgc convert`: what one format holds comes back from the other."""

from __future__ import annotations

import json

import cv2
import dataset_recordings as datasets
import numpy as np
import pytest
from recordings import HEIGHT, WIDTH, Scene, write_colmap, write_folder, write_intrinsics, write_nerfstudio, write_png
from rosbags.highlevel import AnyReader

from cgc_ros import cli
from cgc_ros.sequences import open_sequence

DISTORTION = {"distortion_model": "plumb_bob", "distortion": [-0.2, 0.02, 0.001, 0.0, 0.0]}
WRITERS = {
    "folder": lambda root, scene: write_folder(root, scene),
    "colmap": lambda root, scene: write_colmap(root, scene, binary=True),
    "nerfstudio": lambda root, scene: write_nerfstudio(root, scene, depth=True),
    "tum": datasets.write_tum,
    "replica": datasets.write_replica,
    "polycam": datasets.write_polycam,
    "kitti": datasets.write_kitti,
}


@pytest.fixture
def scene() -> Scene:
    return Scene(count=9)


def convert(recording, out, *options: str) -> None:
    assert cli.main(["convert", str(recording), "--out", str(out), *options]) == 0


def assert_equal(converted, original) -> None:
    """Frames of two open recordings, distortion and truth included; depth to half a millimetre."""
    assert len(converted) == len(original)
    for index in range(len(original)):
        got, wanted = converted.stored_frame(index), original.stored_frame(index)
        np.testing.assert_array_equal(got.image, wanted.image)
        pose = got.world_from_camera.copy()
        pose[:3, 3] += converted.origin - original.origin
        np.testing.assert_allclose(pose, wanted.world_from_camera, atol=1e-9)
        assert got.intrinsics.matrix() == pytest.approx(wanted.intrinsics.matrix())
        assert converted[index].intrinsics == original[index].intrinsics
        for name in ("depth", "masks"):
            values, expected = getattr(got, name), getattr(wanted, name)
            assert (values is None) == (expected is None)
            if expected is not None:
                np.testing.assert_allclose(values, expected, atol=5.1e-4)
    assert (converted.truth is None) == (original.truth is None)
    if original.truth is not None:
        assert converted.truth.labels == original.truth.labels
        np.testing.assert_array_equal(converted.truth.instances(2), original.truth.instances(2))
        for label, points in original.truth.object_points.items():
            np.testing.assert_allclose(
                converted.truth.object_points[label] + converted.origin, points + original.origin, atol=1e-5
            )


@pytest.mark.parametrize("target", ["folder", "run.mcap"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_was_converted_reads_back_equal(tmp_path, scene, name, target):
    recording = WRITERS[name](tmp_path / "original", scene)
    convert(recording, tmp_path / target)
    original, converted = open_sequence(recording), open_sequence(tmp_path / target)
    assert_equal(converted, original)
    assert converted.warnings == ()
    if target == "folder":
        assert [info.name for info in converted.frames] == [info.name for info in original.frames]
        assert [info.stamp_ns for info in converted.frames] == [info.stamp_ns for info in original.frames]
        assert converted.metric_scale == original.metric_scale


@pytest.mark.parametrize("target", ["folder", "run.mcap"])
def test_lens_distortion_goes_along(tmp_path, scene, target):
    recording = write_folder(tmp_path / "original", scene)
    write_intrinsics(recording, **DISTORTION)
    convert(recording, tmp_path / target)
    assert_equal(open_sequence(tmp_path / target), open_sequence(recording))
    assert open_sequence(tmp_path / target).frames[0].intrinsics.distortion == tuple(DISTORTION["distortion"])


def test_a_bag_becomes_a_folder_and_a_folder_of_rosbag2_can_be_asked_for(tmp_path, scene):
    recording = write_folder(tmp_path / "original", scene)
    convert(recording, tmp_path / "bag", "--format", "bag")
    assert (tmp_path / "bag" / "metadata.yaml").is_file()
    convert(tmp_path / "bag", tmp_path / "folder")
    assert_equal(open_sequence(tmp_path / "folder"), open_sequence(recording))


@pytest.mark.parametrize("target", ["folder", "run.mcap"])
def test_coordinates_far_from_the_origin_are_written_as_they_were(tmp_path, scene, target):
    for pose in scene.poses:
        pose[:3, 3] += (412345.678, 5654321.123, 97.5)
    recording = write_folder(tmp_path / "original", scene, truth=False)
    convert(recording, tmp_path / target)
    converted = open_sequence(tmp_path / target)
    np.testing.assert_allclose(converted.origin, scene.poses[0][:3, 3], atol=1e-6)
    np.testing.assert_allclose(
        converted[3].world_from_camera[:3, 3] + converted.origin, scene.poses[3][:3, 3], atol=1e-6
    )


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpegs_are_kept_byte_for_byte(tmp_path, scene, suffix):
    recording = write_colmap(tmp_path / "original", scene, binary=True)
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    folder = write_nerfstudio(tmp_path / "other", scene, suffix=suffix)
    for index in range(scene.count):
        (folder / "images" / f"frame_{index}{suffix}").write_bytes(data)
    convert(folder, tmp_path / "folder")
    assert (tmp_path / "folder" / "images" / "frame_3.jpg").read_bytes() == data
    convert(folder, tmp_path / "run.mcap")
    with AnyReader([tmp_path / "run.mcap"]) as reader:
        images = [each for each in reader.connections if each.topic == "/camera/color/image_raw/compressed"]
        message = next(reader.deserialize(raw, each.msgtype) for each, _, raw in reader.messages(images))
    assert bytes(message.data) == data and "jpeg" in message.format
    assert recording.is_dir()


def test_ignored_and_transparent_pixels_go_along(tmp_path, scene):
    recording = write_folder(tmp_path / "original", scene, truth=False)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:10] = 0
    cv2.imwrite(str(recording / "images" / "0001.png"), np.dstack([scene.image(1), alpha]))
    write_png(recording / "ignore" / "0001.png", 255 - alpha[::-1])
    wanted = open_sequence(recording)[1].ignore
    convert(recording, tmp_path / "folder")
    converted = open_sequence(tmp_path / "folder")
    np.testing.assert_array_equal(converted[1].ignore, wanted)
    assert converted[0].ignore is None
    convert(recording, tmp_path / "run.mcap")
    recorded = open_sequence(tmp_path / "run.mcap")
    np.testing.assert_array_equal(recorded[1].ignore, wanted)
    assert recorded[0].ignore is None and recorded.has_ignore


def test_a_camera_that_changes_keeps_its_intrinsics_per_frame(tmp_path, scene):
    recording = write_nerfstudio(tmp_path / "original", scene)
    document = json.loads((recording / "transforms.json").read_text())
    document["frames"][0]["fl_x"] = 77.0
    (recording / "transforms.json").write_text(json.dumps(document))
    for target in ("folder", "run.mcap"):
        convert(recording, tmp_path / target)
        assert_equal(open_sequence(tmp_path / target), open_sequence(recording))


def test_held_out_frames_are_kept_by_a_folder_and_told_of_by_a_bag(tmp_path, scene, capsys):
    recording = write_folder(tmp_path / "original", scene)
    (recording / "heldout.txt").write_text("0002.png\n")
    convert(recording, tmp_path / "folder")
    converted = open_sequence(tmp_path / "folder")
    assert [index for index in range(len(converted)) if converted.is_held_out(index)] == [2]
    convert(recording, tmp_path / "run.mcap")
    assert "every eighth" in capsys.readouterr().err


def test_a_broken_frame_is_named_and_the_others_are_converted(tmp_path, scene, capsys):
    recording = write_folder(tmp_path / "original", scene, truth=False)
    (recording / "images" / "0003.png").write_bytes(b"not an image")
    convert(recording, tmp_path / "run.mcap", "--json")
    written = capsys.readouterr()
    assert json.loads(written.out)["frames"] == scene.count - 1
    assert "0003.png cannot be decoded" in written.err
    assert len(open_sequence(tmp_path / "run.mcap")) == scene.count - 1


def test_nothing_is_overwritten(tmp_path, scene, capsys):
    recording = write_folder(tmp_path / "original", scene, truth=False)
    for target in ("folder", "run.mcap"):
        convert(recording, tmp_path / target)
        assert cli.main(["convert", str(recording), "--out", str(tmp_path / target)]) == 1
        assert "already: choose another" in capsys.readouterr().err


def test_stamps_that_do_not_increase_are_made_anew_in_a_bag(tmp_path, scene, capsys):
    recording = write_folder(tmp_path / "original", scene, truth=False)
    lines = (recording / "poses.csv").read_text().splitlines()
    (recording / "poses.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    convert(recording, tmp_path / "run.mcap")
    assert_equal(open_sequence(tmp_path / "run.mcap"), open_sequence(recording))
    assert "new ones are made" in capsys.readouterr().err


def test_a_depth_that_sixteen_bit_cannot_hold_is_told(tmp_path, scene, capsys):
    recording = write_folder(tmp_path / "original", scene, truth=False)
    (recording / "depth" / "0002.png").unlink()
    np.save(recording / "depth" / "0002.npy", np.full((HEIGHT, WIDTH), 70.0, np.float32))
    convert(recording, tmp_path / "folder")
    assert f"{HEIGHT * WIDTH} pixels of depth are further than 65.534 m" in capsys.readouterr().err
    assert not open_sequence(tmp_path / "folder")[2].depth.any()
