"""Holes in depth take the depth of the region that they lie in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.stereo.depth_filling import filled


def scene(size=(96, 128)):
    """A wall at 4 m with a dark door in it, and a box at 1 m before them; colours with a little noise."""
    height, width = size
    depth = np.full(size, 4.0, np.float32)
    image = np.full((*size, 3), 170, np.int16)
    image[:, width // 3 : 2 * width // 3] = 40
    box = np.zeros(size, bool)
    box[height // 2 :, : width // 2] = True
    depth[box] = 1.0
    image[box] = (200, 90, 20)
    image += np.random.default_rng(0).integers(-2, 3, image.shape, dtype=np.int16)
    return depth, image.clip(0, 255).astype(np.uint8), box


@pytest.mark.parametrize("size", [(96, 128), (240, 320)])
def test_a_plain_door_takes_the_depth_of_its_wall_and_not_of_what_stands_before_it(size):
    depth, image, box = scene(size)
    width = size[1]
    door = np.zeros(size, bool)
    door[:, width // 3 + 3 : 2 * width // 3 - 3] = True
    door &= ~box
    found, guessed = filled(np.where(door, 0.0, depth).astype(np.float32), image)
    np.testing.assert_array_equal(guessed, door)
    np.testing.assert_array_equal(found[~door], depth[~door])
    assert np.median(np.abs(found - depth)[door] / 4.0) < 0.05


def test_what_is_whole_stays_as_it_is():
    depth, image, _ = scene()
    found, guessed = filled(depth, image)
    assert found is depth and not guessed.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.9), st.integers(2, 70), st.integers(2, 50))
def test_guesses_lie_between_what_is_known(seed, share, width, height):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.3, 9.0, (height, width)).astype(np.float32)
    hidden = rng.random(depth.shape) > share
    hidden.flat[rng.integers(hidden.size)] = False
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    found, guessed = filled(np.where(hidden, 0.0, depth).astype(np.float32), image)
    np.testing.assert_array_equal(guessed, hidden)
    known = depth[~hidden]
    assert np.isfinite(found).all()
    assert found.min() >= known.min() * (1 - 1e-4) and found.max() <= known.max() * (1 + 1e-4)
