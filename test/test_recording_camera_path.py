"""The recording's camera path: rigid, smooth, all around the table, with the table in view."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from make_recording.camera_path import (  # noqa: E402
    BASE_FROM_CAMERA_LINK,
    CAMERA_LINK_FROM_OPTICAL,
    CameraPath,
    quaternion_xyzw,
)

PATH = CameraPath()
TIMES = np.arange(0, PATH.duration, 1 / 60)
POSES = np.stack([PATH.map_from_optical(time) for time in TIMES])


def test_poses_are_rigid_transforms():
    rotations = POSES[:, :3, :3]
    gram = rotations @ rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)


def test_the_camera_is_upright_in_the_optical_convention():
    down = POSES[:, :3, 1]  # y of an optical frame points down in the picture
    assert (down[:, 2] < -0.7).all()


def test_it_moves_as_slowly_as_a_hand():
    speed = np.linalg.norm(np.diff(POSES[:, :3, 3], axis=0), axis=1) * 60
    turn = Rotation.from_matrix(POSES[:-1, :3, :3].transpose(0, 2, 1) @ POSES[1:, :3, :3]).magnitude() * 60
    assert speed.max() < 1.5  # metres a second
    assert np.degrees(turn).max() < 90  # degrees a second


def test_it_goes_around_the_table_at_varying_height_and_distance():
    offset = POSES[:, :3, 3] - PATH.target
    azimuth = np.degrees(np.unwrap(np.arctan2(offset[:, 1], offset[:, 0])))
    distance = np.linalg.norm(offset[:, :2], axis=1)
    assert 240 < np.ptp(azimuth) < 330
    assert np.ptp(distance) > 0.1
    assert np.ptp(offset[:, 2]) > 0.15
    assert distance.min() > 0.6  # clear of the table's objects


def test_the_table_stays_in_the_middle_of_the_picture():
    optical_from_map = np.linalg.inv(POSES)
    target = optical_from_map[:, :3, :3] @ PATH.target + optical_from_map[:, :3, 3]
    assert (target[:, 2] > 0.5).all()
    assert (np.abs(target[:, :2] / target[:, 2:]) < 0.2).all()  # the image reaches to 0.55 and 0.41


def test_the_rigs_frames_lead_back_to_the_optical_frame():
    chain = PATH.map_from_base(1.7) @ BASE_FROM_CAMERA_LINK @ CAMERA_LINK_FROM_OPTICAL
    np.testing.assert_allclose(chain, PATH.map_from_optical(1.7), atol=1e-12)


def test_an_optical_frame_is_turned_as_rep_103_says():
    x_forward, y_left, z_up = np.eye(3)
    turn = CAMERA_LINK_FROM_OPTICAL[:3, :3]
    np.testing.assert_array_equal(turn @ [0, 0, 1], x_forward)
    np.testing.assert_array_equal(turn @ [-1, 0, 0], y_left)
    np.testing.assert_array_equal(turn @ [0, -1, 0], z_up)


def test_quaternions_agree_with_scipy():
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))  # w is 0: the formula must not divide by it
    for rotation in [*Rotation.random(200, random_state=0), *half_turns]:
        ours = Rotation.from_quat(quaternion_xyzw(rotation.as_matrix()))
        assert (ours.inv() * rotation).magnitude() < 1e-12


def test_paths_repeat_by_seed():
    np.testing.assert_array_equal(CameraPath().map_from_optical(3.1), PATH.map_from_optical(3.1))
    assert not np.allclose(CameraPath(seed=8).map_from_optical(3.1), PATH.map_from_optical(3.1), atol=1e-4)
