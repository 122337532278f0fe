"""Depth of several views of a ray-cast scene, right and wrong, checked against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.stereo.consistency import Consistency, PosedDepth, check_consistency, with_consistency
from cgc_ros.stereo.matcher import StereoResult

SCENE = SyntheticSequence(num_frames=24, width=160, height=120)
VIEWS = (10, 8, 9, 11, 12)  # the one checked first; neighbours about 9 degrees apart
BLOCK = (slice(50, 70), slice(60, 80))


def posed(index: int, depth: np.ndarray | None = None) -> PosedDepth:
    frame = SCENE[index]
    depth = frame.depth if depth is None else depth
    return PosedDepth(torch.from_numpy(depth), frame.intrinsics, torch.from_numpy(frame.world_from_camera))


OTHERS = [posed(index) for index in VIEWS[1:]]


def test_true_depth_is_confirmed_and_hardly_ever_refuted():
    found = check_consistency(posed(VIEWS[0]), OTHERS)
    assert (found.confirming >= 2).float().mean() > 0.9
    assert found.refuted.float().mean() < 0.002
    assert int(found.confirming.max()) <= len(OTHERS)


def test_a_floater_is_refuted_by_those_who_see_through_it():
    depth = SCENE[VIEWS[0]].depth.copy()
    depth[BLOCK] *= 0.5
    found = check_consistency(posed(VIEWS[0], depth), OTHERS)
    assert found.refuted[BLOCK].float().mean() > 0.95
    outside = torch.ones(depth.shape, dtype=torch.bool)
    outside[BLOCK] = False
    assert found.refuted[outside].float().mean() < 0.002


def test_one_view_alone_refutes_nothing():
    depth = 0.5 * SCENE[VIEWS[0]].depth
    assert not check_consistency(posed(VIEWS[0], depth), OTHERS[:1]).refuted.any()


def test_what_lies_behind_anothers_surface_may_be_hidden_and_is_left_alone():
    found = check_consistency(posed(VIEWS[0], 1.3 * SCENE[VIEWS[0]].depth), OTHERS)
    assert found.refuted.float().mean() < 0.01  # where a point beside a silhouette lies before the background


def test_unknown_depth_says_nothing_on_either_side():
    nothing = np.zeros((120, 160), np.float32)
    for view, others in ((posed(VIEWS[0], nothing), OTHERS), (posed(VIEWS[0]), [posed(8, nothing)]), (OTHERS[0], [])):
        found = check_consistency(view, others)
        assert not found.confirming.any() and not found.contradicting.any()


@pytest.mark.parametrize("size", [(480, 640), (481, 643), (7, 5)])
def test_large_images_are_checked_on_a_coarser_grid_and_answer_for_every_pixel(size: tuple[int, int]):
    height, width = size
    intrinsics = SCENE[0].intrinsics.scaled_to(width, height)
    flat = PosedDepth(torch.full(size, 2.0), intrinsics, torch.eye(4, dtype=torch.float64))
    found = check_consistency(flat, [flat, flat])
    assert found.confirming.shape == size
    assert (found.confirming == 2).float().mean() > 0.98


def test_confirmation_halves_doubt_and_contradiction_halves_confidence():
    result = StereoResult(torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]), torch.tensor([[0.6, 0.6, 0.6, 0.6, 0.0]]))
    counts = torch.tensor([[0, 2, 0, 0, 3]], dtype=torch.uint8), torch.tensor([[0, 0, 1, 2, 0]], dtype=torch.uint8)
    checked = with_consistency(result, Consistency(*counts))
    assert checked.depth.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0]]
    torch.testing.assert_close(checked.confidence, torch.tensor([[0.6, 0.9, 0.3, 0.0, 0.0]]))
