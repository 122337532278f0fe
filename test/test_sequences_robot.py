"""Recordings with a robot: folders, bags, conversions between them, and what is said where something is missing."""

import json
import shutil

import cv2
import numpy as np
import pytest
from recordings import Scene, write_folder, write_nerfstudio
from robot_scenes import LINKS, URDF, WallSequence, truth_of, write_arm_recording, write_robot

from cgc_ros.cli import main
from cgc_ros.frame import Frame
from cgc_ros.sequences import SequenceError, open_sequence
from cgc_ros.sequences.mcap_writer import write_mcap


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_arm_recording(tmp_path_factory.mktemp("arm") / "wall", count=4)


@pytest.fixture
def folder(tmp_path):
    root = write_folder(tmp_path / "recording", Scene(4))
    write_robot(root)
    return root


def test_the_robots_pixels_of_a_folder_are_ignored(recording):
    sequence = open_sequence(recording, robot_padding=0.0)
    assert sequence.robot is not None and sequence.warnings == ()
    frame = sequence[2]
    truth = truth_of(recording, frame)
    assert (frame.ignore & truth).sum() / (frame.ignore | truth).sum() > 0.97
    assert sequence.stored_frame(2).ignore is None  # as it was recorded
    without = open_sequence(recording, robot="off")
    assert without.robot is None and without.robot_source is not None and without[2].ignore is None
    assert open_sequence(recording)[2].ignore.sum() > frame.ignore.sum()


def test_ignored_pixels_and_the_robots_are_both_ignored(recording, tmp_path):
    both = shutil.copytree(recording, tmp_path / "both")
    hand = np.zeros((120, 160), np.uint8)
    hand[:20] = 1
    (both / "ignore").mkdir()
    cv2.imwrite(str(both / "ignore" / "0002.png"), hand)
    sequence = open_sequence(both)
    robot = open_sequence(recording)[2].ignore
    np.testing.assert_array_equal(sequence[2].ignore, robot | (hand > 0))
    np.testing.assert_array_equal(sequence.frame(2, ignore=False).ignore, robot)


def test_where_the_links_are_can_be_asked_by_name_and_stamp(folder):
    robot = open_sequence(folder).robot
    stamp = 1_004_500_000_000  # halfway between rows
    assert set(robot.links_at(stamp)) == set(LINKS)
    arm = robot.world_from_link("arm", stamp)
    angle = 0.3, 0.25  # of the origin about z, of the joint about y
    np.testing.assert_allclose(arm[2, 2], np.cos(angle[1]), atol=1e-9)
    np.testing.assert_allclose(robot.world_from_link("base", stamp), np.eye(4))
    assert robot.world_from_link("wheel", stamp) is None


def test_every_reader_of_files_finds_the_robot(tmp_path):
    root = write_nerfstudio(tmp_path / "nerf", Scene(3))
    write_robot(root)
    assert open_sequence(root).robot is not None


def test_far_recordings_have_their_robot_where_it_was(recording, tmp_path):
    far = shutil.copytree(recording, tmp_path / "far")
    shift = np.array([400_000.0, 5_000_000.0, 100.0])
    lines = (far / "poses.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    for row in rows:
        row[1:4] = (repr(float(value) + float(by)) for value, by in zip(row[1:4], shift, strict=True))
    (far / "poses.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    document = json.loads((far / "robot" / "robot.json").read_text())
    pose = np.array(document["world_from_base"])
    pose[:3, 3] += shift
    (far / "robot" / "robot.json").write_text(json.dumps(document | {"world_from_base": pose.tolist()}))
    sequence = open_sequence(far)
    assert np.linalg.norm(sequence.origin) > 1e6
    differs = sequence[2].ignore ^ open_sequence(recording)[2].ignore
    assert differs.sum() <= 0.002 * differs.size


def test_what_is_missing_is_warned_of_by_name_and_the_rest_is_masked(folder):
    (folder / "robot" / "small_description" / "hand.stl").unlink()
    (folder / "robot" / "joints.csv").write_text("stamp,turn\n2000,0\n")
    sequence = open_sequence(folder)
    told = " | ".join(sequence.warnings)
    assert "'hand': mesh package://small_description/hand.stl was not found" in told
    assert "joint 'slide' has no positions in" in told and "joints.csv" in told
    assert "4 of 4 images are up to 1000.00 s before the first or after the last joint states" in told
    assert set(sequence.robot.links_at(0)) == {"base", "arm"}


@pytest.mark.parametrize(
    ("file", "text", "reason", "told"),
    [
        ("small.urdf", URDF[:200], "bad_urdf", "no XML"),
        ("robot.json", "{}", "bad_robot", r'must hold \{"urdf"'),
        ("robot.json", '{"urdf": "other.urdf"}', "bad_robot", "other.urdf, named in .*robot.json, cannot be read"),
        ("robot.json", '{"urdf": "small.urdf", "world_from_base": [[1, 2], [3, 4]]}', "bad_robot", "world_from_base"),
        ("joints.csv", "stamp,turn\n1,x\n", "bad_joints", "joints.csv, line 2"),
    ],
)
def test_a_robot_that_cannot_be_read_is_one_clear_line(folder, capsys, file, text, reason, told):
    (folder / "robot" / file).write_text(text)
    with pytest.raises(SequenceError, match=told) as caught:
        open_sequence(folder)
    assert caught.value.reason == reason and "\n" not in str(caught.value) and "--robot off" in str(caught.value)
    assert open_sequence(folder, robot="off").robot is None
    assert main(["map", str(folder), "--out", str(folder / "out")]) == 1
    assert "robot" in capsys.readouterr().err.strip().splitlines()[-1]


def test_options_of_the_robot_that_make_no_sense_are_refused(folder):
    with pytest.raises(SequenceError, match="robot=maybe: say auto or off"):
        open_sequence(folder, robot="maybe")
    with pytest.raises(SequenceError, match="robot_padding=-1"):
        open_sequence(folder, robot_padding=-1)


def masks_of(sequence) -> list[np.ndarray]:
    return [frame.ignore for frame in sequence]


def test_a_bag_carries_the_robot_as_a_folder_does(recording, tmp_path):
    original = open_sequence(recording)
    conversion = write_mcap(original, tmp_path / "bag" / "wall.mcap")
    assert any("meshes are no part of a bag" in text for text in conversion.told)
    (tmp_path / "bag" / "robot").symlink_to(recording / "robot")
    bag = open_sequence(tmp_path / "bag" / "wall.mcap")
    assert bag.robot is not None and not bag.warnings
    for one, other in zip(masks_of(bag), masks_of(original), strict=True):
        assert (one ^ other).sum() <= 0.01 * max(1, other.sum())
    again = write_mcap(bag, tmp_path / "again" / "wall.mcap")
    assert again.frames == 4
    (tmp_path / "bag" / "robot").unlink()
    told = open_sequence(tmp_path / "bag" / "wall.mcap").warnings
    assert sum("was not found" in text for text in told) == 10  # all but the palm, a box, are meshes


def test_folders_are_converted_with_their_robot(recording, tmp_path):
    assert main(["convert", str(recording), "--out", str(tmp_path / "copy")]) == 0
    for one, other in zip(masks_of(open_sequence(tmp_path / "copy")), masks_of(open_sequence(recording)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_generators_recording_is_the_one_without_where_the_arm_is_not(recording):
    sequence, wall = open_sequence(recording, robot="off"), WallSequence(4)
    frame: Frame
    for frame, plain in zip(sequence, wall, strict=True):
        truth = truth_of(recording, frame)
        away = cv2.dilate(truth.astype(np.uint8), np.ones((3, 3))) == 0
        np.testing.assert_array_equal(frame.image[away], plain.image[away])
        np.testing.assert_allclose(frame.depth[~truth], plain.depth[~truth], atol=1e-6)
        assert (frame.depth[truth] < plain.depth[truth]).all()
