"""What lies apart from the body of its object leaves it, before anyone asks how large the object is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.segmentation.object_layer import ObjectLayer
from cgc_ros.segmentation.pieces import strays
from cgc_ros.segmentation.votes import MaskVotes


def block(rng: np.random.Generator, count: int, center, size) -> np.ndarray:
    return np.asarray(center) + rng.uniform(-0.5, 0.5, (count, 3)) * np.asarray(size)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects, positions, and which of them are strays: a box with a patch of wall, a cup beside it, a bare wall."""
    rng = np.random.default_rng(seed)
    parts = [
        (0, block(rng, 600, (0, 0, 0), (0.2, 0.06, 0.3)), False),
        (0, block(rng, 60, (0.1, 2.0, 0.1), (0.5, 0.01, 0.5)), True),
        (1, block(rng, 200, (0.2, 0, -0.1), (0.08, 0.08, 0.1)), False),
        (2, block(rng, 300, (1.0, 2.0, 0), (3.0, 0.01, 2.0)), False),
        (-1, block(rng, 100, (0, 1.0, 0), (2.0, 2.0, 2.0)), False),
    ]
    objects = np.concatenate([np.full(len(points), number) for number, points, _ in parts])
    is_stray = np.concatenate([np.full(len(points), stray) for _, points, stray in parts])
    order = rng.permutation(len(objects))
    return objects[order], np.concatenate([points for _, points, _ in parts])[order], is_stray[order]


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.tuples(*[st.floats(-50, 50)] * 3))
@settings(max_examples=25, deadline=None)
def test_a_patch_of_the_wall_behind_a_thing_is_none_of_it_in_any_unit_and_anywhere(seed, scale, shift):
    objects, means, expected = scene(seed)
    np.testing.assert_array_equal(strays(objects, scale * (means + shift)), expected)


def test_both_halves_of_what_an_occluder_cuts_and_pieces_nearby_stay():
    rng = np.random.default_rng(1)
    halves = np.concatenate([block(rng, 300, (0, 0, 0), (0.3,) * 3), block(rng, 100, (1.5, 0, 0), (0.3,) * 3)])
    assert not strays(np.zeros(400, dtype=int), halves).any()
    lid = np.concatenate([block(rng, 300, (0, 0, 0), (0.3,) * 3), block(rng, 20, (0, 0, 0.25), (0.1, 0.1, 0.01))])
    assert not strays(np.zeros(320, dtype=int), lid).any()


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_few_gaussians_and_those_in_one_place_are_no_strays(count):
    assert not strays(np.full(count, 3), np.zeros((count, 3))).any()
    assert not strays(np.full(count, -1), np.zeros((count, 3))).any()


def test_a_mask_that_holds_a_thing_and_the_wall_behind_it_makes_neither_wall_of_the_thing_nor_thing_of_the_wall():
    """Every view shows the thing; the patch has a mask in one view alone, the thing's."""
    rng = np.random.default_rng(2)
    thing, patch = block(rng, 300, (0, 0, 0), (0.2,) * 3), block(rng, 55, (0, 3.0, 0), (1.0, 0.01, 1.0))
    means, uids = np.concatenate([thing, patch]), np.arange(355)
    layer = ObjectLayer()
    for k in range(6):
        seen = uids if k == 5 else uids[:300]
        weights, border, share = np.ones(len(seen), np.float32), np.zeros(2, bool), np.full(2, 0.05, np.float32)
        layer.set_votes(MaskVotes(k, k, seen, np.ones(len(seen), np.int32), weights, 1, border, share))
    state = layer.update(uids, means, scene_depth=1.0)
    assert len(state.records) == 1 and (state.ids[:300] > 0).all() and (state.ids[300:] == -1).all()
    assert not next(iter(state.records.values())).background
