"""The folder layout: what is read, and that each fault is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recordings import CX, CY, FX, FY, HEIGHT, WIDTH, Scene, write_folder, write_intrinsics, write_png

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences import SequenceError, open_sequence


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def folder(tmp_path, scene):
    return write_folder(tmp_path, scene)


def error_of(path, **options) -> SequenceError:
    with pytest.raises(SequenceError) as caught:
        open_sequence(path, **options)
    return caught.value


def edit_row(folder, number: int, edit) -> None:
    lines = (folder / "poses.csv").read_text().splitlines()
    lines[number - 1] = edit(lines[number - 1])
    (folder / "poses.csv").write_text("\n".join(lines) + "\n")


def test_frames_come_back_as_they_were_written(folder, scene):
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count
    assert sequence.name == folder.name
    assert (sequence.has_depth, sequence.has_masks, sequence.metric_scale, sequence.warnings) == (True, True, True, ())
    for index, frame in enumerate(sequence):
        np.testing.assert_array_equal(frame.image, scene.image(index))
        np.testing.assert_allclose(frame.depth, scene.depth_m(index), atol=5e-4)
        np.testing.assert_array_equal(frame.masks, scene.labels(index))
        np.testing.assert_allclose(frame.world_from_camera, scene.poses[index], atol=1e-12)
        assert frame.stamp_ns == scene.stamp_ns(index)
        assert frame.name == f"{index:04d}"
        assert frame.intrinsics == Intrinsics(WIDTH, HEIGHT, FX, FY, CX, CY)
        assert (frame.depth.dtype, frame.masks.dtype) == (np.float32, np.int32)


def test_negative_indices_and_ends_are_those_of_a_list(folder, scene):
    sequence = open_sequence(folder)
    np.testing.assert_array_equal(sequence[-1].image, scene.image(scene.count - 1))
    with pytest.raises(IndexError):
        sequence[scene.count]


def test_ground_truth_is_apart_from_the_frames(folder):
    truth = open_sequence(folder).truth
    assert truth.labels == {5: ("cup", "object"), 1: ("table", "background")}
    assert set(np.unique(truth.instances(3))) == {0, 5}
    assert truth.object_points[5].shape == (4, 3)


def test_without_optional_folders_there_is_no_depth_no_masks_no_truth_and_no_known_scale(tmp_path, scene):
    sequence = open_sequence(write_folder(tmp_path, scene, depth=False, masks=False, truth=False))
    frame = sequence[0]
    assert (sequence.has_depth, sequence.has_masks, sequence.metric_scale, sequence.truth) == (False, False, None, None)
    assert frame.depth is None and frame.masks is None


def test_instances_without_names_all_count_as_objects(folder):
    (folder / "labels.json").unlink()
    assert open_sequence(folder).truth.labels == {5: ("instance 5", "object")}


def test_every_eighth_frame_is_held_out_unless_a_list_says_which(tmp_path):
    folder = write_folder(tmp_path, Scene(count=17), depth=False, masks=False, truth=False)
    sequence = open_sequence(folder)
    assert [index for index in range(17) if sequence.is_held_out(index)] == [7, 15]
    (folder / "images" / "0003.png").unlink()  # the rule counts rows of poses.csv, not the frames that are left
    sequence = open_sequence(folder)
    assert [frame.name for frame in sequence.frames if frame.held_out] == ["0007", "0015"]
    (folder / "heldout.txt").write_text("0002.png\n0016.png\n")
    sequence = open_sequence(folder)
    assert [frame.name for frame in sequence.frames if frame.held_out] == ["0002", "0016"]


def test_lens_distortion_is_removed_from_image_depth_masks_and_truth_alike(folder):
    write_intrinsics(folder, distortion=[-0.2, 0.02, 0.0, 0.0, 0.0])
    sequence = open_sequence(folder)
    frame, instances = sequence[4], sequence.truth.instances(4)
    assert frame.intrinsics.distortion_model == "none" and frame.intrinsics.fx != FX
    assert sequence.intrinsics(4) == frame.intrinsics
    np.testing.assert_array_equal(frame.masks > 0, instances > 0)
    assert 0 < (frame.depth == 0).sum() < HEIGHT  # the invalid first column leaves the view, but for the corners


def test_poses_without_images_and_images_without_poses_are_left_out_and_reported(folder, scene):
    (folder / "images" / "0004.png").unlink()
    write_png(folder / "images" / "extra.png", scene.image(0))
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 1
    assert any("1 of 10 poses have no image" in text and "0004.png" in text for text in sequence.warnings)
    assert any("1 images have no pose" in text and "extra.png" in text for text in sequence.warnings)


def test_a_frame_of_lost_tracking_is_left_out_and_reported(folder, scene):
    edit_row(folder, 4, lambda row: ",".join([row.split(",")[0], "nan", *row.split(",")[2:]]))
    sequence = open_sequence(folder)
    assert len(sequence) == scene.count - 1
    assert any("not finite (0002.png)" in text for text in sequence.warnings)


def test_one_broken_image_fails_alone(folder, scene):
    (folder / "images" / "0003.png").write_bytes(b"not an image")
    sequence = open_sequence(folder)
    with pytest.raises(SequenceError, match="0003.png cannot be decoded"):
        sequence[3]
    np.testing.assert_array_equal(sequence[4].image, scene.image(4))


def test_an_image_of_another_size_than_the_intrinsics_is_refused(folder):
    write_png(folder / "images" / "0003.png", np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(SequenceError, match=r"0003.*64x48.*32x24") as caught:
        open_sequence(folder)[3]
    assert caught.value.reason == "camera_info_mismatch"


def test_a_picture_of_depth_costs_the_depth_of_its_frame_alone(folder):
    write_png(folder / "depth" / "0003.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    sequence = open_sequence(folder)
    assert sequence[3].depth is None and sequence[4].depth is not None
    assert any("without depth" in text and "0003.png" in text and "16 bit" in text for text in sequence.warnings)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda row: row.replace(",", ";", 1), "line 4"),
        (lambda row: ",".join(row.split(",")[:6]), "line 4"),
        (lambda row: ",".join(["12 s", *row.split(",")[1:]]), "12 s"),
        (lambda row: ",".join([*row.split(",")[:4], "2", "0", "0", "0", "0002.png"]), "length 2"),
        (lambda row: ",".join([*row.split(",")[:8], "0001.png"]), "two poses"),
        (lambda row: row + ",surplus", "9 values"),
    ],
)
def test_a_broken_row_is_named_by_its_line(folder, edit, named):
    edit_row(folder, 4, edit)
    error = error_of(folder)
    assert error.reason == "bad_poses"
    assert "line 4" in str(error) and named in str(error)


def test_missing_files_and_columns_are_named(folder):
    edit_row(folder, 1, lambda row: row.replace("qw", "w"))
    assert "columns qw are missing" in str(error_of(folder))
    (folder / "poses.csv").unlink()
    assert "poses.csv" in str(error_of(folder))
    (folder / "intrinsics.json").unlink()
    (folder / "poses.csv").touch()
    assert "intrinsics.json" in str(error_of(folder))


def test_an_empty_recording_is_named(folder):
    (folder / "poses.csv").write_text("stamp,tx,ty,tz,qx,qy,qz,qw,image\n")
    assert error_of(folder).reason == "empty"


def test_a_recording_without_any_usable_frame_says_what_was_left_out(folder):
    for image in (folder / "images").iterdir():
        image.unlink()
    error = error_of(folder)
    assert error.reason == "empty" and "10 of 10 poses have no image" in str(error)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fx": -3.0}, "positive"),
        ({"cx": float("nan")}, "finite"),
        ({"width": "wide"}, "no number"),
    ],
)
def test_intrinsics_that_describe_no_camera_are_refused(folder, changes, named):
    write_intrinsics(folder, **changes)
    error = error_of(folder)
    assert error.reason == "bad_intrinsics" and named in str(error)


def test_an_unknown_distortion_model_is_named_with_the_known_ones(folder):
    write_intrinsics(folder, distortion_model="mystery", distortion=[0.1])
    with pytest.raises(SequenceError, match="mystery.*plumb_bob"):
        open_sequence(folder)[0]


def test_json_that_is_none_is_named(folder):
    (folder / "intrinsics.json").write_text("{")
    assert error_of(folder).reason == "bad_json"
    write_intrinsics(folder)
    (folder / "labels.json").write_text(json.dumps({"5": "cup"}))
    assert error_of(folder).reason == "bad_labels"


def test_a_hold_out_list_must_name_recorded_images(folder):
    (folder / "heldout.txt").write_text("0002.jpg\n")
    assert "0002.jpg" in str(error_of(folder))


def test_what_is_no_recording_is_refused(tmp_path):
    assert error_of(tmp_path / "absent").reason == "missing_file"
    assert error_of(tmp_path).reason == "unknown_format"


def test_an_option_of_another_reader_is_refused(folder):
    assert "image_topic" in str(error_of(folder, image_topic="/camera"))
