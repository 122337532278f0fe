"""What a posed frame can tell about itself."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from intake_rig import CAMERA, SECOND, picture, posed

from cgc_ros.frame import Frame, FrameError
from cgc_ros.ros.frame_guard import FrameGuard, GuardSettings


def frame(pixels, x=0.0, stamp_s=0.0):
    return Frame(round(stamp_s * SECOND), pixels, posed(x), CAMERA)


def guarded(guard, *arguments):
    try:
        guard.check(frame(*arguments))
    except FrameError as error:
        return error.reason
    return ""


def test_black_white_and_frozen_frames_are_kept_away_from_the_map():
    guard = FrameGuard()
    assert guarded(guard, np.full((48, 64, 3), 3, np.uint8)) == "black_frames"
    assert guarded(guard, np.full((48, 64, 3), 255, np.uint8)) == "white_frames"
    assert guarded(guard, picture(1)) == ""
    assert guarded(guard, picture(1)) == ""  # nothing moved: a still camera in a simulator
    assert guarded(guard, picture(1), 0.05) == "frozen_frames"
    assert guarded(guard, picture(2), 0.05) == ""


def test_ignored_pixels_say_nothing_of_a_frame_or_its_depth():
    mask = np.zeros((48, 64), bool)
    mask[:, :40] = True
    gripper = np.where(mask[..., None], 0, picture(1)).astype(np.uint8)
    black = np.where(mask[..., None], picture(1), 3).astype(np.uint8)
    for pixels, fault in ((gripper, ""), (black, "black_frames")):
        guard = FrameGuard()
        try:
            guard.check(replace(frame(pixels), ignore=mask))
            found = ""
        except FrameError as error:
            found = error.reason
        assert found == fault
    depth = np.where(mask, np.float32(1500.0), np.float32(1.5))
    FrameGuard().check_depth(depth, depth.shape, mask)
    with pytest.raises(FrameError, match="median depth"):
        FrameGuard().check_depth(depth, depth.shape)


def test_a_blurred_frame_is_found_by_its_lack_of_fine_detail():
    guard = FrameGuard()
    for seed in range(20):
        assert guarded(guard, picture(seed)) == ""
    assert guarded(guard, cv2.GaussianBlur(picture(50), (0, 0), 4)) == "blurred_frames"
    assert guarded(guard, picture(51)) == ""
    careless = FrameGuard(GuardSettings(min_sharpness=0.0))
    for seed in range(20):
        assert guarded(careless, picture(seed)) == ""
    assert guarded(careless, cv2.GaussianBlur(picture(52), (0, 0), 4)) == ""


def test_a_pose_jump_is_mapped_only_once_confirmed():
    guard = FrameGuard()
    xs = [0.0, 0.1, 5.0, 5.1, 5.2, 5.3, 5.4]
    found = [guarded(guard, picture(index), x, 0.1 * index) for index, x in enumerate(xs)]
    assert found == ["", "", "pose_jump", "pose_jump", "pose_jump", "pose_jump", ""]
    glitch = FrameGuard()
    found = [
        guarded(glitch, picture(index), x, 0.1 * index) for index, x in enumerate([0.0, 9.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    ]
    assert found == ["", "pose_jump", "pose_jump", "pose_jump", "pose_jump", "pose_jump", ""]
    assert guarded(FrameGuard(), picture(), 100.0) == ""
