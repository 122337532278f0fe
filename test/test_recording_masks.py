"""Corrupted masks: each kind of corruption does what it says, and no more than it says."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from make_recording.corrupt_masks import Corruption, corrupt_masks  # noqa: E402

NOTHING = Corruption(missing=0, cut=0, merged=0, border=0, min_area=0)


def grid(rows: int, columns: int, cell: int) -> np.ndarray:
    """[rows * cell, columns * cell] of square regions 5, 6, 7, ... (ids of a scene need not start at 1)."""
    ids = 5 + np.arange(rows * columns).reshape(rows, columns)
    return np.kron(ids, np.ones((cell, cell), int)).astype(np.uint16)


def corrupted(truth: np.ndarray, seed: int = 0, **changes: float) -> np.ndarray:
    return corrupt_masks(truth, np.random.default_rng(seed), Corruption(**{**vars(NOTHING), **changes}))


def test_without_corruption_only_the_ids_change():
    truth = grid(4, 5, 20)
    masks = corrupted(truth)
    pairs = np.unique(np.stack([truth.ravel(), masks.ravel()]), axis=1)
    assert masks.dtype == np.uint16
    assert pairs.shape[1] == 20  # one to one
    assert sorted(pairs[1]) == list(range(1, 21))


def test_ids_mean_nothing_in_another_frame():
    truth = grid(4, 5, 20)
    assert not np.array_equal(corrupted(truth, seed=0), corrupted(truth, seed=1))


def test_the_same_seed_repeats():
    truth = grid(4, 5, 20)
    first, second = (corrupt_masks(truth, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_unlabelled_pixels_never_get_a_mask_of_their_own():
    truth = grid(2, 2, 40)
    truth[truth == 6] = 0
    assert (corrupted(truth, cut=0.5)[truth == 0] == 0).all()


def test_borders_move_by_at_most_three_standard_deviations():
    truth = grid(3, 3, 100)
    masks = corrupted(truth, border=2.0)
    reach = np.ones((13, 13), np.uint8)  # 6 pixels to each side
    for region in np.unique(truth):
        taken = np.bincount(masks[truth == region]).argmax()
        allowed = cv2.dilate((truth == region).astype(np.uint8), reach).astype(bool)
        assert allowed[masks == taken].all()


def test_a_straight_border_moves_by_the_stated_standard_deviation():
    truth = np.ones((4000, 60), np.uint16)
    truth[:, 30:] = 2
    masks = corrupted(truth, border=2.0)
    left = masks == np.bincount(masks[truth == 1]).argmax()
    # The field is smooth (sigma 6): rows 40 apart are independent, 100 of them give the deviation to 7% (one sigma).
    assert left.sum(1)[::40].std() == pytest.approx(2.0, abs=0.6)
    assert left.sum(1).mean() == pytest.approx(30, abs=0.5)


def test_the_stated_share_of_regions_is_missing():
    truth = grid(30, 30, 4)
    masks = corrupted(truth, missing=0.2)
    missing = len(np.unique(truth[masks == 0]))
    assert missing == pytest.approx(180, abs=5 * np.sqrt(900 * 0.2 * 0.8))  # binomial, five sigma


def test_cut_regions_fall_into_two_parts_of_similar_size():
    truth = grid(3, 3, 40)
    masks = corrupted(truth, cut=1.0)
    for region in np.unique(truth):
        parts = np.unique(masks[truth == region], return_counts=True)[1]
        assert len(parts) == 2
        # A line through a convex region's centroid leaves at least 4/9 on each side (Winternitz), less in pixels.
        assert parts.min() / 1600 > 0.42


def test_merged_regions_stay_whole_and_share_an_id_with_a_neighbour():
    truth = grid(3, 3, 20)
    masks = corrupted(truth, merged=1.0)
    partner_ids = [np.unique(masks[truth == region]) for region in np.unique(truth)]
    assert all(len(ids) == 1 for ids in partner_ids)
    assert len(np.unique(masks)) < 9
    for mask in np.unique(masks):
        assert cv2.connectedComponents((masks == mask).astype(np.uint8))[0] == 2  # the outside and one connected part


def test_regions_below_the_smallest_area_are_left_out():
    truth = grid(1, 2, 20)
    truth[:5, :5] = 99
    assert (corrupted(truth, min_area=60)[:5, :5] == 0).all()
    assert (corrupted(truth, min_area=25)[:5, :5] > 0).all()
