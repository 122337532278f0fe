"""Guesses far from known depth go beyond all cameras; others, and known depth, stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import FillingConfig
from cgc_ros.stereo.guess_placement import beyond_cameras

INTRINSICS = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
RING = np.array([[np.cos(a), np.sin(a), 0.0] for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)])


def looking_in(turn: Rotation | None = None, at: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The pose of the camera at (1, 0, 0) of a ring about the origin, that looks at its middle, and all centres; all
    turned and moved.
    """
    pose = np.eye(4)
    pose[:3, :3] = np.stack([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]], axis=1)
    pose[:3, 3] = RING[0]
    whole = np.eye(4)
    whole[:3, :3] = np.eye(3) if turn is None else turn.as_matrix()
    whole[:3, 3] = 0.0 if at is None else at
    return whole @ pose, RING @ whole[:3, :3].T + whole[:3, 3]


def points(depth: np.ndarray, pose: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[:48, :64]
    rays = np.stack([(columns - 31.5) / 60.0, (rows - 23.5) / 60.0, np.ones((48, 64))], axis=-1)
    return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1.9), st.integers(0, 1000))
def test_a_backdrop_leaves_the_ring_of_cameras_wherever_the_ring_stands(depth, seed):
    rng = np.random.default_rng(seed)
    pose, centres = looking_in(Rotation.random(random_state=seed), rng.normal(0, 10, 3))
    guess = np.full((48, 64), depth)
    guess[40:] = 0.0  # known there
    moved = beyond_cameras(guess, INTRINSICS, pose, centres)
    from_middle = np.linalg.norm(points(moved, pose) - centres.mean(axis=0), axis=-1)
    assert (from_middle[:34] > 1.2 - 1e-6).all()
    assert from_middle[moved != guess] == pytest.approx(1.2, abs=1e-6)
    assert (moved[40:] == 0).all() and (moved[36:40] == depth).all()  # known, and guessed beside what is known


def test_what_is_guessed_beyond_them_stays():
    pose, centres = looking_in()
    guess = np.full((48, 64), 4.0)
    np.testing.assert_array_equal(beyond_cameras(guess, INTRINSICS, pose, centres), guess)


def test_cameras_that_look_away_from_each_other_or_all_one_way_move_nothing():
    pose, centres = looking_in()
    pose[:3, [0, 2]] *= -1.0  # outwards
    guess = np.full((48, 64), 0.5)
    np.testing.assert_array_equal(beyond_cameras(guess, INTRINSICS, pose, centres), guess)
    along = np.array([[0.0, y, 0.0] for y in np.linspace(-0.3, 0.3, 7)])
    ahead = np.eye(4)
    np.testing.assert_array_equal(beyond_cameras(guess, INTRINSICS, ahead, along), guess)


def test_how_far_from_known_depth_is_a_setting():
    pose, centres = looking_in()
    guess = np.full((48, 64), 1.0)
    guess[:, :32] = 0.0
    for share, first in ((0.0, 32), (0.25, 48)):
        moved = beyond_cameras(guess, INTRINSICS, pose, centres, FillingConfig(far_from_known=share))
        assert np.flatnonzero((moved != guess).all(axis=0))[0] == pytest.approx(first, abs=1)
