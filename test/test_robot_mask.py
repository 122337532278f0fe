"""The robot's pixels: exact without padding, a cover of what may be wrong with it, and free where things stand before
it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robot_scenes import CAMERA, URDF, WallSequence, arm_base, truth_of, write_arm_recording, write_hand
from scipy.spatial.transform import Rotation

from cgc_ros.rendering.silhouettes import draw_silhouette
from cgc_ros.robot.description import read_urdf
from cgc_ros.robot.kinematics import link_poses
from cgc_ros.robot.mask import RobotMask
from cgc_ros.robot.meshes import load_shapes
from cgc_ros.robot.recorded import read_robot
from cgc_ros.undistortion import undistorter_for


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_arm_recording(tmp_path_factory.mktemp("arm") / "wall")


@pytest.fixture(scope="module")
def exact(recording):
    return read_robot(recording, padding=0.0)


@pytest.fixture(scope="module")
def padded(recording):
    return read_robot(recording)


@pytest.fixture(scope="module")
def truths(recording, exact):
    frames = [WallSequence().stored_frame(index) for index in range(8)]
    return [(replace(frame, depth=None), truth_of(recording, frame)) for frame in frames]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    write_hand(folder)
    return load_shapes(read_urdf(URDF), [folder])


def iou(one, other) -> float:
    return (one & other).sum() / max(1, (one | other).sum())


def test_without_padding_the_silhouette_is_that_of_the_truth(exact, truths):
    seen = [(exact.mask(frame), truth) for frame, truth in truths if truth.sum() > 500]
    assert len(seen) >= 6
    assert min(iou(mask, truth) for mask, truth in seen) > 0.97


@settings(max_examples=25, deadline=None)
@given(
    index=st.integers(0, 7),
    direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    late_ms=st.sampled_from((0, 30)),
    camera_is_off=st.booleans(),
)
def test_default_padding_covers_a_calibration_that_is_off(
    padded, truths, index, direction, axis, late_ms, camera_is_off
):
    frame, truth = truths[index]
    error = np.eye(4)
    error[:3, :3] = Rotation.from_rotvec(np.radians(1.0) * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    error[:3, 3] = 0.01 * np.array(direction) / np.linalg.norm(direction)
    base = arm_base()
    # Of the camera on its mount, or of the robot's base: each by 1 cm and 1 degree about itself.
    wrong = (
        frame.world_from_camera @ error
        if camera_is_off
        else base @ error @ np.linalg.inv(base) @ (frame.world_from_camera)
    )
    mask = padded.mask(replace(frame, world_from_camera=wrong, stamp_ns=frame.stamp_ns - late_ms * 1_000_000))
    assert not (truth & ~mask).any()


def test_a_wrist_camera_sees_its_gripper(tmp_path):
    folder = write_arm_recording(tmp_path / "wrist", 2, on_wrist=True)
    robot, tight = read_robot(folder), read_robot(folder, padding=0.0)
    for index in range(2):
        frame = replace(WallSequence().stored_frame(index), depth=None)
        truth = truth_of(folder, frame)
        assert truth.sum() > 300
        assert iou(tight.mask(frame), truth) > 0.97
        assert not (truth & ~robot.mask(frame)).any()


def test_what_is_just_outside_of_the_view_may_be_in_it(small):
    """Within the padding, the true robot shows where its mask says that it does not."""
    mask, exact = RobotMask(small), RobotMask(small, 0.0)
    base = pose_before(small, 0.8)["base"]
    aside = {"base": shifted(base, (0.6, 0, 0))}  # begins just beyond the right edge
    assert not exact.mask(CAMERA, aside).any()
    nearer = {"base": shifted(base, (0.575, 0, 0))}
    shown = exact.mask(CAMERA, nearer)
    assert shown.any() and not (shown & ~mask.mask(CAMERA, aside)).any()


def test_a_link_beside_the_camera_does_not_make_the_rest_coarse(small):
    view = pose_before(small, 0.8)
    exact, alone = RobotMask(small, 0.0).mask(CAMERA, view), RobotMask(small).mask(CAMERA, view)
    beside = view | {"base": shifted(np.eye(4), (0.3, 0.0, 0.0))}  # crosses the camera's plane, out of sight
    assert not RobotMask(small, 0.0).mask(CAMERA, {"base": beside["base"]}).any()
    without_base = RobotMask(small).mask(CAMERA, {link: pose for link, pose in view.items() if link != "base"})
    assert iou(RobotMask(small).mask(CAMERA, beside), without_base) > 0.95
    assert alone.sum() < 4 * exact.sum()


def test_what_stands_before_the_arm_is_kept(exact, padded, truths):
    frame, truth = max(truths, key=lambda each: each[1].sum())
    rows, columns = np.nonzero(truth)
    middle = int(np.median(rows))
    wall = np.full(truth.shape, 1.4, np.float32)
    in_front = wall.copy()
    in_front[middle:] = 0.25  # a board before the lower half of the view
    for robot in (exact, padded):
        behind, before = robot.mask(replace(frame, depth=wall)), robot.mask(replace(frame, depth=in_front))
        assert not (truth & ~behind).any() or robot is exact  # what is farther hides no arm
        np.testing.assert_array_equal(before[: middle - 8], behind[: middle - 8])
        assert not before[middle + 8 :].any()


def test_depth_that_says_nothing_keeps_nothing(padded, truths):
    frame, truth = max(truths, key=lambda each: each[1].sum())
    whole = padded.mask(frame)
    nothing = np.zeros(truth.shape, np.float32)
    np.testing.assert_array_equal(padded.mask(replace(frame, depth=nothing)), whole)
    specks = np.zeros(truth.shape, np.float32)
    specks[::7, ::7] = 0.3  # noise, before the arm and behind it
    specks[3::7, 3::7] = 3.0
    np.testing.assert_array_equal(padded.mask(replace(frame, depth=specks)), whole)


def test_what_shows_behind_the_margin_is_kept(exact, padded, truths):
    frame, truth = max(truths, key=lambda each: each[1].sum())
    whole, silhouette = padded.mask(frame), exact.mask(frame)
    wall = np.where(truth, np.float32(0.9), np.float32(2.5))
    with_wall = padded.mask(replace(frame, depth=wall))
    assert not (with_wall & ~whole).any() and not (exact_within(truth, 3) & ~with_wall).any()
    assert (with_wall & ~silhouette).sum() < 0.8 * (whole & ~silhouette).sum()  # 4 of 5 to 9 pixels stay
    close = np.where(truth, np.float32(0.9), np.float32(0.95))  # it may be the robot, as far as anybody knows
    np.testing.assert_array_equal(padded.mask(replace(frame, depth=close)), whole)
    table = np.full(truth.shape, 2.5, np.float32)  # a mask that is off: the robot shows beside its silhouette
    moved = np.roll(truth, 4, axis=1)
    table[moved] = 0.9
    assert not (moved & whole & ~padded.mask(replace(frame, depth=table))).any()


def test_the_arms_own_depth_is_not_in_front_of_it(small):
    """Whatever is off within the padding: depth of the true robot, its mask at another place."""
    view = pose_before(small, 0.6)
    poses = np.array([view[link] for link in small.links])
    inverse = draw_silhouette(small.meshes, poses, CAMERA).inverse_depth
    depth = np.where(inverse > 0, 1.0 / np.maximum(inverse, 0.1), np.float32(2.0)).astype(np.float32)
    off = {link: shifted(pose, (0.008, -0.006, 0.01)) for link, pose in view.items()}
    assert not ((inverse > 0) & ~RobotMask(small).mask(CAMERA, off, depth)).any()


def shifted(pose, by):
    moved = pose.copy()
    moved[:3, 3] += by
    return moved


def pose_before(shapes, distance, turn=0.3):
    camera_from_base = np.eye(4)
    camera_from_base[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    camera_from_base[:3, 3] = 0.0, 0.2, distance
    poses = link_poses(read_urdf(URDF), {"turn": turn, "slide": 0.05})
    return {link: camera_from_base @ pose for link, pose in poses.items()}


@settings(max_examples=20, deadline=None)
@given(distance=st.floats(0.5, 2.0), padding=st.floats(0.0, 0.05), turn=st.floats(-1.0, 1.0))
def test_more_padding_covers_more_and_never_less(small, distance, padding, turn):
    view = pose_before(small, distance, turn)
    exact, wide = (RobotMask(small, each).mask(CAMERA, view) for each in (0.0, padding))
    wider = RobotMask(small, padding + 0.02).mask(CAMERA, view)
    assert not (exact & ~wide).any()
    assert (wide & ~wider).sum() <= 0.01 * wide.sum()  # views of other sizes have other pixels
    farthest = CAMERA.fx * (padding / (distance - 0.2) + 1.6 * padding) + 2.5
    grown = exact_within(exact, farthest)
    assert not (wide & ~grown).any()


def exact_within(mask, pixels):
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= pixels


def test_links_that_are_not_known_are_not_drawn_and_motion_widens(small):
    view = pose_before(small, 0.8)
    mask = RobotMask(small)
    without = mask.mask(CAMERA, {link: pose for link, pose in view.items() if link != "tip"})
    whole, moving = mask.mask(CAMERA, view), mask.mask(CAMERA, view, moved={"tip": 0.05})
    assert not (without & ~whole).any() and without.sum() < whole.sum() < moving.sum()
    assert not mask.mask(CAMERA, {}).any()
    behind = {link: shifted(pose, (0, 0, -3.0)) for link, pose in view.items()}
    assert not mask.mask(CAMERA, behind).any()
    later = {link: shifted(pose, (0, 0.03, 0.04)) for link, pose in view.items()}
    moved = mask.displacements(view, later | {"hand": view["hand"]})
    assert moved["tip"] == pytest.approx(0.05) and moved["hand"] == 0.0 and set(moved) == set(small.links)


def test_a_lens_that_distorts_sees_the_robot_where_it_is(small):
    lens = replace(CAMERA, distortion_model="plumb_bob", distortion=(-0.25, 0.06, 0.0, 0.0, 0.0))
    view = pose_before(small, 0.7)
    mask = RobotMask(small, 0.0).mask(lens, view)
    undistorter = undistorter_for(lens)
    straight = RobotMask(small, 0.0).mask(undistorter.intrinsics, view)
    assert mask.shape == (120, 160)
    assert iou(undistorter.nearest(mask.astype(np.int32)) > 0, straight) > 0.95


def test_a_wide_image_is_masked_at_its_own_size(small):
    view = pose_before(small, 0.7)
    large = CAMERA.scaled_to(1600, 1200)
    mask, drawn_small = RobotMask(small, 0.0).mask(large, view), RobotMask(small, 0.0).mask(CAMERA, view)
    assert mask.shape == (1200, 1600)
    assert iou(mask[5::10, 5::10], drawn_small) > 0.95
