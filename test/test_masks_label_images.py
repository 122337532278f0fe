"""Label images: dense ids, borders on the image's edges, overlapping masks laid flat."""

from __future__ import annotations

import numpy as np
import pytest

from cgc_ros.masks.label_images import compact_masks, flatten_masks, snap_to_edges


def disc(center, radius, shape=(60, 80)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def test_ids_become_dense_and_small_or_negative_ones_nothing():
    labels = np.array([[7, 7, 7, -1], [0, 9, 9, 3]])
    compact, count = compact_masks(labels, min_pixels=2)
    assert compact.tolist() == [[1, 1, 1, 0], [0, 2, 2, 0]] and compact.dtype == np.int32 and count == 2
    assert compact_masks(labels)[0].tolist() == [[2, 2, 2, 0], [0, 3, 3, 1]]


@pytest.mark.parametrize("min_pixels", [1, 2, 3])
def test_ids_too_large_for_a_table_become_dense_as_small_ones_do(min_pixels):
    masks = np.array([[0, 7, 7], [9, 7, 3], [0, 3, 3]], dtype=np.int32)
    huge = np.where(masks > 0, masks + 2_000_000_000, -1).astype(np.int32)
    assert compact_masks(huge, min_pixels)[0].tolist() == compact_masks(masks, min_pixels)[0].tolist()


def test_a_mask_over_the_whole_image_stays_one():
    assert compact_masks(np.full((2, 2), 2_000_000_000, np.int32))[0].tolist() == [[1, 1], [1, 1]]


def test_a_region_thinner_than_the_band_keeps_its_pixels():
    labels = np.zeros((30, 40), np.int32)
    labels[:, 20] = 1
    snapped = snap_to_edges(labels, np.full((30, 40, 3), 90, np.uint8), band=3)
    assert (snapped == 1).sum() >= 30
    assert set(np.unique(snapped)) == {0, 1}


def test_every_pixel_keeps_a_label_up_to_the_corners():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (15, 20))
    snapped = snap_to_edges(labels, rng.integers(0, 255, (45, 60, 3), dtype=np.uint8), band=2)
    assert snapped.shape == (45, 60)
    assert snapped.min() >= 0 and snapped.max() <= 4


def test_small_masks_lie_on_large_ones():
    large, small = disc((30, 40), 25), disc((30, 40), 8)
    labels = flatten_masks(np.array([small, large]), np.array([0.9, 0.95]), min_area=20, duplicate_iou=0.85)[1]
    assert len(np.unique(labels)) == 3
    assert (labels[small] == labels[30, 40]).all() and labels[30, 40] != labels[30, 60] != 0
    assert (labels > 0).sum() == large.sum()


def test_of_near_duplicates_the_better_one_stays():
    masks = np.array([disc((30, 40), 20), disc((30, 41), 20), disc((30, 40), 10)])
    labels = flatten_masks(masks, np.array([0.8, 0.9, 0.7]), min_area=20, duplicate_iou=0.85)[1]
    np.testing.assert_array_equal(labels > 0, masks[1] | masks[2])
    assert labels.max() == 2


def test_small_holes_are_filled_and_large_ones_left_to_what_may_be_in_them():
    mask = disc((30, 40), 25)
    mask[30, 40] = mask[20, 35] = False
    ring = mask & ~disc((35, 40), 8)
    labels = flatten_masks(np.array([ring]), np.ones(1), min_area=20, duplicate_iou=0.85)[1]
    assert labels[20, 35] == 1  # one pixel
    assert labels[35, 40] == 0  # a tenth of the mask


def test_small_masks_and_remnants_are_left_out():
    masks = np.array([disc((30, 40), 3), disc((30, 20), 12), disc((30, 20), 12) | disc((30, 22), 12)])
    labels = flatten_masks(masks, np.ones(3), min_area=100, duplicate_iou=0.95)[1]
    assert labels[30, 40] == 0
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    assert (areas >= 100).all() and list(ids) == list(range(1, len(ids) + 1))


def test_no_masks_are_an_empty_label_image():
    labels = flatten_masks(np.zeros((0, 60, 80), bool), np.zeros(0), min_area=100, duplicate_iou=0.85)[1]
    assert labels.shape == (60, 80) and not labels.any()


def test_wholes_hide_their_parts_and_lie_on_what_the_border_cuts():
    table = np.zeros((60, 80), bool)
    table[20:] = True
    mug, handle = disc((40, 40), 12), disc((40, 49), 3)
    wholes, parts = flatten_masks(np.array([mug, table, handle]), np.ones(3), min_area=20, duplicate_iou=0.85)
    assert wholes[40, 49] == wholes[40, 40] != wholes[58, 5] != 0
    assert len({int(parts[point]) for point in ((40, 49), (40, 40), (58, 5))}) == 3
    assert wholes.max() == 2 and parts.max() == 3
