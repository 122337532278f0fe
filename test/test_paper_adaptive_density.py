"""Adaptive density control on hand-made Gaussians: who is cloned, split and pruned, and what their rows become."""

import pytest
import torch

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping import PaperConfig
from cgc_ros.paper.adaptive_density import (
    ScreenGradients,
    adapt_density,
    choose_growth,
    reset_opacities,
    scene_extent,
    split_rows,
)

CONFIG = PaperConfig(screen_gradient=0.1, clone_size=0.01, max_size=0.1, min_opacity=0.005)
EXTENT = 10.0  # metres: clones up to 0.1 m, removes above 1 m


def gaussians(sizes, opacities) -> GaussianModel:
    """One Gaussian a metre along x, `sizes` in metres; every row of moments holds its number."""
    count = len(sizes)
    model = GaussianModel(sh_degree=1)
    means = torch.zeros(count, 3)
    means[:, 0] = torch.arange(count)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1.0
    scales = torch.tensor(sizes)[:, None].repeat(1, 3)
    seeds = GaussianSeeds(means, quats, scales, torch.tensor(opacities), torch.rand(count, 3))
    model.append(seeds, 0, torch.Generator().manual_seed(0))
    model.parameters["sh"][:, 1:] = 0.25
    for first, second in model.moments.values():
        first += 1.0
        second += 1.0
    return model


def seen_with(model, strengths) -> ScreenGradients:
    """Gradients as one view of 2x2 pixels gives them: pixels are then normalised device coordinates."""
    gradients = ScreenGradients(model)
    gradients.add(torch.tensor([[s, 0.0] for s in strengths]), torch.ones(len(model), dtype=torch.bool), 2, 2)
    return gradients


def run(model, gradients, cap=100, prune_large=True):
    generator = torch.Generator().manual_seed(0)
    return adapt_density(
        model, gradients, CONFIG, extent=EXTENT, cap=cap, step=7, prune_large=prune_large, generator=generator
    )


def test_gradients_are_averaged_in_device_coordinates_over_the_views_that_see_a_gaussian():
    gradients = ScreenGradients(gaussians([0.1] * 3, [0.5] * 3))
    seen = torch.tensor([True, True, False])
    gradients.add(torch.tensor([[0.03, 0.0], [0.0, 0.03], [9.0, 9.0]]), seen, width=200, height=100)
    gradients.add(torch.tensor([[0.03, 0.08], [5.0, 5.0], [9.0, 9.0]]), seen & (torch.arange(3) == 0), 200, 100)
    # 0.03 * 200 / 2 = 3 and |(3, 0.08 * 100 / 2)| = 5, mean 4; 0.03 * 100 / 2 = 1.5; never seen
    assert gradients.mean().tolist() == pytest.approx([4.0, 1.5, 0.0])


def test_small_gaussians_are_cloned_and_large_ones_split_above_the_threshold():
    strengths, sizes = torch.tensor([0.2, 0.2, 0.09, 0.1]), torch.tensor([0.05, 0.5, 0.05, 0.1])
    clone, split = choose_growth(strengths, sizes[:, None].repeat(1, 3), EXTENT, 100, CONFIG)
    assert clone.tolist() == [True, False, False, True]
    assert split.tolist() == [False, True, False, False]


def test_the_strongest_gradients_get_what_room_the_cap_leaves():
    strengths = torch.tensor([0.3, 0.9, 0.2, 0.8])
    scales = torch.tensor([0.05, 0.05, 0.05, 0.5])[:, None].repeat(1, 3)
    clone, split = choose_growth(strengths, scales, EXTENT, 2, CONFIG)
    assert clone.tolist() == [False, True, False, False] and split.tolist() == [False, False, False, True]
    clone, split = choose_growth(strengths, scales, EXTENT, 0, CONFIG)
    assert not clone.any() and not split.any()


def test_one_round_clones_splits_and_prunes():
    model = gaussians([0.05, 0.5, 0.05, 0.05, 2.0], [0.5, 0.5, 0.5, 0.004, 0.5])
    before = {name: value.clone() for name, value in model.parameters.items()}
    change = run(model, seen_with(model, [0.2, 0.2, 0.0, 0.0, 0.0]))
    assert (change.cloned, change.split, change.pruned) == (1, 1, 2)
    # rows left: the cloned one, the quiet one, the clone, two children
    assert model.uids.tolist() == [0, 2, 5, 6, 7]
    for name, value in model.parameters.items():
        torch.testing.assert_close(value[2], before[name][0])  # an exact copy, harmonics and feature included
        if name not in ("means", "log_scales"):
            torch.testing.assert_close(value[3:], before[name][1:2].expand_as(value[3:]))
    torch.testing.assert_close(model.scales[3:], torch.full((2, 3), 0.5 / 1.6))
    assert model.born_step.tolist() == [0, 0, 7, 7, 7]
    for moments in model.moments.values():  # survivors keep their momentum, newcomers have none
        for moment in moments:
            assert moment.reshape(5, -1)[:, 0].tolist() == [1, 1, 0, 0, 0]


def test_large_gaussians_stay_until_opacities_have_been_reset_once():
    model = gaussians([2.0, 0.05], [0.5, 0.5])
    assert run(model, seen_with(model, [0.0, 0.0]), prune_large=False).pruned == 0
    assert run(model, seen_with(model, [0.0, 0.0]), prune_large=True).pruned == 1


def test_gaussians_that_training_made_non_finite_are_removed():
    model = gaussians([0.05, 0.05], [0.5, 0.5])
    model.parameters["means"][0, 1] = torch.nan
    run(model, seen_with(model, [0.0, 0.0]))
    assert model.uids.tolist() == [1]


def test_a_full_map_does_not_grow():
    model = gaussians([0.05, 0.5], [0.5, 0.5])
    gradients = seen_with(model, [0.2, 0.2])
    run(model, gradients, cap=2)
    assert len(model) == 2
    assert gradients.sums.tolist() == gradients.views.tolist() == [0.0, 0.0]  # each round counts anew


def test_children_are_drawn_from_their_parents_distribution():
    count = 4000
    half = 0.5**0.5
    rows = {
        "means": torch.tensor([[1.0, 2.0, 3.0]]).repeat(count, 1),
        "quats": torch.tensor([[half, 0.0, 0.0, half]]).repeat(count, 1),  # a quarter turn about z: x becomes y
        "log_scales": torch.tensor([[0.4, 0.1, 0.05]]).log().repeat(count, 1),
    }
    children = split_rows(rows, torch.Generator().manual_seed(1))["means"]
    assert len(children) == 2 * count
    # standard errors: 0.4 / sqrt(8000) = 0.0045 of the mean, 0.4 / sqrt(16000) = 0.0032 of the deviation
    torch.testing.assert_close(children.mean(dim=0), torch.tensor([1.0, 2.0, 3.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(children.std(dim=0), torch.tensor([0.1, 0.4, 0.05]), atol=0.013, rtol=0)


def test_an_opacity_reset_lowers_and_never_raises():
    model = gaussians([0.1, 0.1], [0.9, 0.006])
    reset_opacities(model, 0.01)
    assert model.opacities.tolist() == pytest.approx([0.01, 0.006], rel=1e-4)
    assert all(moment.abs().sum() == 0 for moment in model.moments["logit_opacities"])
    assert all(moment.abs().sum() > 0 for moment in model.moments["means"])


def test_the_extent_is_that_of_the_cameras():
    assert scene_extent(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])) == pytest.approx(1.1)
