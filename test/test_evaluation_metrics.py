"""Metrics against counts done by hand and against independent implementations."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.evaluation.image_metrics import PSNR_CEILING, depth_errors, psnr, ssim
from cgc_ros.evaluation.label_metrics import LabelOverlap, SceneSegmentation, boundary_band, boundary_distance, mean_iou
from cgc_ros.evaluation.object_metrics import (
    average_precision,
    cloud_iou,
    compare_publications,
    id_stability,
    match_tolerance,
    object_average_precision,
)
from cgc_ros.frame import IGNORED, UNLABELLED
from cgc_ros.segmentation.object_state import GaussianIds


@dataclass
class Thing:
    id: int
    points: np.ndarray
    confidence: float = 1.0
    background: bool = False


def row(*ids: int) -> np.ndarray:
    return np.array([ids], dtype=np.int32)


# scene mIoU


def test_a_perfect_prediction_scores_one_whatever_its_ids():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 2, 2, 0), row(9, 9, 4, 4, UNLABELLED))
    scores = overlap.match()
    assert mean_iou(scores, {1, 2}) == 1.0
    assert (scores[1].predicted_id, scores[2].predicted_id) == (9, 4)


def test_iou_is_that_of_pixels_summed_over_views():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 1), row(5, 5, 5, UNLABELLED))  # 3 shared of 4
    overlap.add(row(1, 0, 0, 0), row(5, 5, 5, UNLABELLED))  # 1 shared of 3: spill onto unlabelled pixels counts
    assert overlap.match()[1].iou == pytest.approx(4 / 7)
    assert overlap.views == 2


def test_ignored_pixels_count_for_nobody():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 2, 0), row(5, 5, IGNORED, IGNORED, IGNORED))
    assert overlap.match()[1].iou == 1.0 and set(overlap.truth_pixels) == {1}
    rng = np.random.default_rng(0)
    recorded = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    ignore = np.zeros((30, 40), bool)
    ignore[:, 25:] = True
    rendered = np.where(ignore[..., None], 255 - recorded, recorded)
    assert psnr(rendered, recorded, ignore) == PSNR_CEILING and ssim(rendered, recorded, ignore) == 1.0
    brighter = np.clip(recorded.astype(int) + 9, 0, 255).astype(np.uint8)
    nothing = np.zeros_like(ignore)
    assert psnr(brighter, recorded, nothing) == psnr(brighter, recorded)
    assert ssim(brighter, recorded, nothing) == pytest.approx(ssim(brighter, recorded), abs=1e-9)


def test_an_id_that_changes_between_views_loses():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 1), row(5, 5, 5, 5))
    overlap.add(row(1, 1, 1, 1), row(6, 6, 6, 6))
    assert overlap.match()[1].iou == 0.5


def test_two_instances_under_one_id_share_it_with_nobody():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 2), row(7, 7, 7, 7))
    scores = overlap.match()
    assert (scores[1].iou, scores[2].iou, scores[2].predicted_id) == (0.75, 0.0, None)
    assert mean_iou(scores, {1, 2}) == 0.375


def test_matching_maximises_the_sum_not_each_instance_alone():
    # Greedy would give id 7 to instance 1 (3/5) and leave instance 2, which overlaps id 7 alone (2/5), with nothing.
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 1, 1, 2, 2), row(7, 7, 7, 8, 8, 7, 7))
    scores = overlap.match()
    iou = {(1, 7): 3 / 7, (1, 8): 2 / 5, (2, 7): 2 / 5}
    assert iou[1, 8] + iou[2, 7] > iou[1, 7]
    assert (scores[1].predicted_id, scores[2].predicted_id) == (8, 7)


def test_background_instances_compete_for_ids_but_do_not_enter_the_mean():
    overlap = LabelOverlap()
    overlap.add(row(1, 1, 1, 1, 1, 2), row(7, 7, 7, 7, 7, 7))
    assert mean_iou(overlap.match(), {2}) == 0.0  # id 7 belongs to background instance 1


def test_objects_no_view_shows_are_left_out_and_none_is_said_where_none_is_shown():
    overlap = LabelOverlap()
    overlap.add(row(1, 1), row(3, 3))
    assert mean_iou(overlap.match(), {1, 99}) == 1.0
    assert mean_iou(overlap.match(), {99}) is None


def test_label_images_of_different_size_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        LabelOverlap().add(np.zeros((2, 3), int), np.zeros((3, 2), int))


# scene mBIoU


def boundary_of_mask(mask: np.ndarray, distance: int) -> np.ndarray:
    """Cheng et al.'s own recipe for one mask: pad by one, erode by 3x3 `distance` times, subtract."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & (eroded == 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_boundary_bands_equal_those_of_each_mask_alone(seed, distance):
    random = np.random.default_rng(seed)
    coarse = random.choice([0, 3, 7, UNLABELLED], size=(5, 6))
    labels = np.kron(coarse, np.ones((6, 5), int)).astype(np.uint16)
    expected = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        expected |= boundary_of_mask(labels == label, distance)
    assert np.array_equal(boundary_band(labels, distance), expected)


def test_boundary_distance_is_two_percent_of_the_diagonal():
    assert boundary_distance(480, 640) == 16
    assert boundary_distance(10, 10) == 1


def test_boundary_iou_of_a_shifted_square_equals_the_per_mask_definition():
    height, width = 300, 400  # diagonal 500, bands of 10 pixels
    truth = np.zeros((height, width), np.int32)
    truth[100:200, 100:200] = 1
    predicted = np.full((height, width), UNLABELLED, np.uint16)
    predicted[100:200, 104:204] = 8
    scene = SceneSegmentation()
    scene.add(truth, predicted)
    truth_band, predicted_band = boundary_of_mask(truth == 1, 10), boundary_of_mask(predicted == 8, 10)
    expected = (truth_band & predicted_band).sum() / (truth_band | predicted_band).sum()
    assert scene.boundaries.match()[1].iou == pytest.approx(expected)
    assert scene.masks.match()[1].iou == pytest.approx(96 / 104)
    assert expected < 96 / 104


# views


def test_psnr_of_a_uniform_error_follows_from_its_definition():
    recorded = np.full((4, 5, 3), 100, np.uint8)
    assert psnr(recorded + 10, recorded) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(recorded, recorded) == PSNR_CEILING
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 0.0


def test_ssim_is_one_for_identical_images_and_follows_the_formula_for_constant_ones():
    random = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert ssim(random, random) == pytest.approx(1.0)
    a, b, c1 = 100.0, 150.0, (0.01 * 255) ** 2
    constant = ssim(np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 150, np.uint8))
    assert constant == pytest.approx(
        (2 * a * b + c1) / (a * a + b * b + c1)
    )  # variances vanish, so only luminance is left


def test_depth_errors_count_only_pixels_both_know_and_say_how_many_were_measured():
    rendered = np.array([[1.0, np.nan, 2.0, 5.0]], np.float32)
    measured = np.array([[1.1, 2.0, 0.0, 4.0]], np.float32)
    absolute, relative, count = depth_errors(rendered, measured)
    assert absolute == pytest.approx([0.1, 1.0], abs=1e-6)
    assert relative == pytest.approx([0.1 / 1.1, 0.25], abs=1e-6)
    assert count == 3


# average precision


def plane(x: float, size: float = 0.2, step: float = 0.005) -> np.ndarray:
    u, v = np.meshgrid(np.arange(0, size, step), np.arange(0, size, step))
    return np.stack([x + u.ravel(), v.ravel(), np.zeros(u.size)], axis=1)


def test_cloud_iou_of_the_same_surface_is_one_at_any_density():
    assert cloud_iou(plane(0.0, step=0.002), plane(0.0, step=0.007), 0.02) == 1.0
    assert cloud_iou(plane(0.0), plane(1.0), 0.02) == 0.0
    assert cloud_iou(np.empty((0, 3)), plane(0.0), 0.02) == 0.0


def test_cloud_iou_of_half_a_surface_is_half_up_to_the_tolerance():
    half = plane(0.0)[plane(0.0)[:, 0] < 0.1]
    # precision 1; recall: voxel means of the 10 whole centimetres, and of one or two more within 2 cm of the edge
    assert 0.5 <= cloud_iou(half, plane(0.0), 0.02) <= 0.62


def test_cloud_iou_weighs_area_not_density():
    doubled = np.concatenate([plane(0.0), np.repeat(plane(0.4)[:1], 100_000, axis=0)])  # a dense clump is one voxel
    assert cloud_iou(doubled, plane(0.0), 0.02) > 0.99


@pytest.mark.parametrize(
    ("ious", "confidences", "expected"),
    [
        ([[0.9, 0.0], [0.0, 0.8]], [1.0, 0.5], 1.0),
        ([[0.9, 0.0], [0.0, 0.8]], [0.7, 0.7], 1.0),
        # recall (1/2, 1/2, 0), precision (1/2, 1, 1), central steps (0, 1/4, 1/4)
        ([[0.9, 0.0], [0.0, 0.4]], [1.0, 0.5], 0.5),
        ([[0.2]], [1.0], 0.0),
    ],
)
def test_average_precision_by_hand(ious, confidences, expected):
    assert average_precision(np.array(ious), np.array(confidences), 0.5) == pytest.approx(expected)


def scannet_average_precision(y_true: np.ndarray, y_score: np.ndarray, hard_false_negatives: int) -> float:
    """The published benchmark's integration (evaluate_semantic_instance.py), for matches already made."""
    order = np.argsort(y_score)
    y_score, y_true = y_score[order], y_true[order]
    cumulative = np.cumsum(y_true)
    _, unique = np.unique(y_score, return_index=True)
    precision, recall = np.zeros(len(unique) + 1), np.zeros(len(unique) + 1)
    cumulative = np.append(cumulative, 0)
    for place, first in enumerate(unique):
        below = cumulative[first - 1]
        true_positives = y_true.sum() - below
        false_positives = len(y_score) - first - true_positives
        false_negatives = below + hard_false_negatives
        precision[place] = true_positives / (true_positives + false_positives)
        recall[place] = true_positives / (true_positives + false_negatives)
    precision[-1], recall[-1] = 1.0, 0.0
    steps = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0, 0.5], "valid")
    return float(precision @ steps)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 8))
def test_average_precision_integrates_as_scannet_does(seed, num_predicted, num_truth):
    random = np.random.default_rng(seed)
    hits = np.zeros(num_predicted, bool)
    hits[random.permutation(num_predicted)[: min(num_predicted, num_truth, int(random.integers(0, 9)))]] = True
    ious = np.zeros((num_predicted, num_truth))
    ious[np.flatnonzero(hits), np.arange(hits.sum())] = 0.9
    confidences = random.integers(0, 5, num_predicted) / 4
    expected = scannet_average_precision(hits.astype(float), confidences, num_truth - int(hits.sum()))
    assert average_precision(ious, confidences, 0.5) == pytest.approx(expected)


def test_average_precision_without_predictions_is_zero_and_without_truth_none():
    assert average_precision(np.zeros((0, 3)), np.zeros(0), 0.5) == 0.0
    assert average_precision(np.zeros((3, 0)), np.ones(3), 0.5) is None


def test_a_second_prediction_of_one_instance_is_a_false_positive():
    # precision 1/2 then 1, recall 1 then 1, and the closing (1, 0): steps (0, 0.5, 0.5).
    assert average_precision(np.array([[0.9], [0.8]]), np.array([0.9, 0.8]), 0.5) == 1.0
    assert average_precision(np.array([[0.9], [0.8]]), np.array([0.9, 0.9]), 0.5) == pytest.approx(0.75)


def test_background_predictions_do_not_count_against_precision():
    truth = {1: plane(0.0), 2: plane(0.5)}
    things = [Thing(10, plane(0.0)), Thing(11, plane(0.5)), Thing(12, plane(3.0), background=True)]
    assert object_average_precision(things, truth, 0.02) == [1.0, 1.0]
    things[2].background = False
    assert object_average_precision(things, truth, 0.02)[0] < 1.0


def test_tolerance_is_two_centimetres_or_one_percent_of_the_scene():
    corners = [np.zeros((1, 3)), np.array([[3.0, 4.0, 0.0]])]
    assert match_tolerance(corners, True) == 0.02
    assert match_tolerance(corners, None) == pytest.approx(0.05)
    assert match_tolerance(corners, False) == pytest.approx(0.05)


# id stability


def published(**gaussians: range) -> GaussianIds:
    """Objects by id (`_1=range(...)`): the uids of their Gaussians, which do not overlap."""
    uids = np.concatenate([np.zeros(0, int), *(np.arange(each.start, each.stop) for each in gaussians.values())])
    ids = np.repeat([int(name[1:]) for name in gaussians], [len(each) for each in gaussians.values()])
    order = np.argsort(uids)
    return GaussianIds(uids[order], ids.astype(np.int32)[order])


def test_ids_matched_by_overlap_are_kept_changed_or_vanished():
    earlier = published(_1=range(10), _2=range(10, 20), _3=range(20, 30))
    later = published(_1=range(2, 10), _9=range(10, 20), _5=range(40, 50))
    assert compare_publications(earlier, later) == (1, 1, 1)


def test_a_merge_keeps_the_larger_parts_id_and_loses_the_smaller():
    two, one = published(_1=range(30), _2=range(30, 40)), published(_1=range(40))
    assert compare_publications(two, one) == (1, 0, 1)


def test_new_objects_do_not_count_and_stability_pools_transitions():
    none, first, second = published(), published(_1=range(9)), published(_1=range(9), _2=range(20, 30))
    counts = [compare_publications(none, first), compare_publications(first, second)]
    counts.append(compare_publications(second, first))
    assert counts == [(0, 0, 0), (1, 0, 0), (1, 0, 1)]
    assert id_stability(counts) == pytest.approx(2 / 3)
    assert id_stability([]) is None
