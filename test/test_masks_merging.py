"""Planes, the region graph and merging: against geometry worked out by hand and against sums taken from scratch."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from cgc_ros.masks.merging import (
    COLOR_EVIDENCE,
    COLOR_WEIGHTS,
    DEPTH_WEIGHTS,
    EVIDENCE,
    border_log_odds,
    evidence,
    merge_regions,
)
from cgc_ros.masks.pixel_cues import ASSUMED_FOCAL, cut_into_superpixels, measure
from cgc_ros.masks.planes import creases, departure, fit_planes, plane_moments, residual_under
from cgc_ros.masks.region_graph import Borders, RegionGraph, Regions, build_region_graph

HEIGHT, WIDTH = 40, 60
V, U = np.mgrid[:HEIGHT, :WIDTH]
U, V = (U - (WIDTH - 1) / 2) / 54.0, (V - (HEIGHT - 1) / 2) / 54.0  # rays of a camera with focal length 54


def inverse_depth_of_plane(normal) -> np.ndarray:
    """n.X = 1 with X = z (u, v, 1): 1/z = n.(u, v, 1)."""
    return normal[0] * U + normal[1] * V + normal[2]


def random_cues(seed: int, with_depth: bool):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = np.kron(blocks, np.ones((12, 12, 1), np.uint8))
    depth = 1.0 + rng.random(image.shape[:2], dtype=np.float32)
    depth[rng.random(depth.shape) < 0.1] = 0.0
    return measure(image, depth if with_depth else None, long_side=96)


def test_moments_give_back_the_plane_of_each_region_and_ignore_invalid_pixels():
    left, right = (0.3, -0.2, 0.8), (-0.1, 0.4, 1.1)
    labels = (np.arange(WIDTH)[None] >= 30).astype(int) * np.ones((HEIGHT, 1), int)
    inverse_depth = np.where(labels == 0, inverse_depth_of_plane(left), inverse_depth_of_plane(right))
    inverse_depth[::3, ::2] = 0.0
    planes = fit_planes(plane_moments(inverse_depth, U, V, labels))
    np.testing.assert_allclose(planes.normal, [left, right], atol=1e-4)
    np.testing.assert_allclose(planes.residual, 0.0, atol=1e-3)


def test_the_residual_under_another_plane_is_the_relative_error_of_inverse_depth():
    plane = (0.0, 0.0, 1.0)
    moments = plane_moments(inverse_depth_of_plane((0.0, 0.0, 0.9)), U, V, np.zeros((HEIGHT, WIDTH), int))
    assert residual_under(moments, np.array([plane]))[0] == pytest.approx(0.1 / 0.9)
    assert residual_under(moments, np.array([[0.0, 0.0, 0.9]]))[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("slope", "expected_sign"), [(0.5, 1), (-0.5, -1), (0.0, 0)])
def test_a_valley_is_concave_and_a_ridge_convex(slope, expected_sign):
    """1/z smallest at the border: the middle is farthest away, a valley as a room's corner is; largest: a ridge as a
    box's edge is.
    """
    labels = (np.arange(WIDTH)[None] >= 30).astype(int) * np.ones((HEIGHT, 1), int)
    inverse_depth = 1.0 + slope * np.abs(U)
    moments = plane_moments(inverse_depth, U, V, labels)
    crease = creases(moments, moments[:, 0], np.array([[0, 1]]))
    assert np.sign(np.round(crease[0], 3)) == expected_sign
    if expected_sign:
        # Normals (-+slope, 0, 1), normalised; the surface points to either side differ mostly along x.
        assert abs(crease[0]) == pytest.approx(2 * 0.5 / np.hypot(1, 0.5), rel=0.05)


def test_regions_without_depth_say_nothing_of_creases_and_planes():
    labels = (np.arange(WIDTH)[None] >= 30).astype(int) * np.ones((HEIGHT, 1), int)
    moments = plane_moments(np.where(labels == 0, 1.0, 0.0), U, V, labels)
    assert creases(moments, np.full(2, 1200.0), np.array([[0, 1]]))[0] == 0.0
    assert departure(moments[:1], moments[1:])[0] == 0.0


def test_departure_is_the_distance_from_a_common_plane():
    labels = (np.arange(WIDTH)[None] >= 30).astype(int) * np.ones((HEIGHT, 1), int)
    flat = plane_moments(inverse_depth_of_plane((0.3, -0.2, 0.8)), U, V, labels)
    assert departure(flat[:1], flat[1:])[0] == pytest.approx(0.0, abs=1e-4)
    # A small patch raised by 5 % over a large plane lies those 5 % off it.
    patch = (np.abs(U) < 0.03) & (np.abs(V) < 0.03)
    raised = plane_moments(np.where(patch, 1.05, 1.0), U, V, patch.astype(int))
    assert departure(raised[:1], raised[1:])[0] == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("jump", [0.1, 0.4])
def test_a_jump_of_depth_is_found_on_slopes_and_slopes_alone_are_none(jump):
    """A plane that recedes fast, and the same with a step between columns 29 and 30."""
    plane = inverse_depth_of_plane((0.8, 0.1, 1.0))
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    halves = (np.arange(WIDTH)[None] >= 30).astype(np.int32) * np.ones((HEIGHT, 1), np.int32)
    for values, expected in ((plane, 0.0), (np.where(halves == 0, plane, plane * (1 - jump)), jump)):
        cues = measure(image, (1.0 / values).astype(np.float32), long_side=WIDTH)
        borders = build_region_graph(cues, halves).borders
        step = borders.step[0] / borders.length[0]
        wanted = expected / (expected + 0.01 + 3 * cues.noise)
        assert step == pytest.approx(wanted, abs=0.1)  # the slope between the samples counts in


@pytest.mark.parametrize("with_depth", [True, False])
def test_merging_regions_of_a_graph_is_building_it_from_the_merged_regions(with_depth):
    """Sums over pixels add up; only depth's border evidence stays that of the superpixels, so it is left out here."""
    cues = random_cues(0, with_depth)
    superpixels = cut_into_superpixels(cues, 6)
    graph = build_region_graph(cues, superpixels)
    count = 9
    new_region = np.random.default_rng(1).permutation(np.arange(len(graph.regions)) % count)
    merged, new_border = graph.merged(new_region, count)
    expected = build_region_graph(cues, new_region[superpixels])
    np.testing.assert_array_equal(merged.pairs, expected.pairs)
    for field in fields(Regions):
        np.testing.assert_allclose(
            getattr(merged.regions, field.name), getattr(expected.regions, field.name), rtol=1e-9, atol=1e-9
        )
    for name in ("length", "gradient"):
        np.testing.assert_allclose(getattr(merged.borders, name), getattr(expected.borders, name), rtol=1e-9)
    np.testing.assert_allclose(merged.perimeters(), expected.perimeters())
    inside = new_region[graph.pairs[:, 0]] == new_region[graph.pairs[:, 1]]
    np.testing.assert_array_equal(new_border < 0, inside)


def test_superpixels_cover_the_image_with_dense_ids():
    cues = random_cues(2, with_depth=True)
    superpixels = cut_into_superpixels(cues, 6)
    assert superpixels.shape == cues.relief.shape
    assert set(np.unique(superpixels)) == set(range(superpixels.max() + 1))
    assert build_region_graph(cues, superpixels).regions.area.sum() == superpixels.size


def graph_of_areas(areas, pairs, gradients) -> RegionGraph:
    """Grey regions that differ in nothing but area; borders of length 10 with the given colour edges."""
    n, e = len(areas), len(pairs)
    area = np.array(areas, float)
    histogram = np.zeros((n, 24))
    histogram[:, [0, 8, 16]] = area[:, None]
    nothing = np.zeros(n)
    regions = Regions(
        area,
        histogram,
        np.outer(area, np.eye(6)[0]),
        np.zeros((n, 3)),
        np.zeros((n, 3)),
        nothing,
        np.full(n, 5.0),
        np.zeros((n, 0)),
    )
    borders = Borders(
        np.full(e, 10.0), np.zeros((e, 2)), 10.0 * np.array(gradients, float), np.zeros(e), np.zeros(e), np.zeros(e)
    )
    return RegionGraph(regions, np.array(pairs), borders)


def only_gradient(graph, which):
    return evidence(graph, which)[:, COLOR_EVIDENCE.index("gradient")]


def test_the_weakest_borders_merge_first_and_averages_decide_on():
    """A chain a-b-c-d with edges 0.1, 0.5, 0.2: (ab) and (cd) merge, then stay apart below 0.5 and join above."""
    graph = graph_of_areas([10, 10, 10, 10], [(0, 1), (1, 2), (2, 3)], [0.1, 0.5, 0.2])
    fine, coarse = merge_regions(graph, (0.4, 0.6), only_gradient)
    assert fine[0] == fine[1] != fine[2] == fine[3]
    assert len(set(coarse)) == 1


def test_a_border_that_grows_is_judged_by_its_mean():
    """A square a b / c d: a-b and c-d merge; the two long sides, 0.1 and 0.7, become one border of 0.4."""
    graph = graph_of_areas([10, 10, 10, 10], [(0, 1), (0, 2), (1, 3), (2, 3)], [0.05, 0.1, 0.7, 0.05])
    assert len(set(merge_regions(graph, (0.39,), only_gradient)[0])) == 2
    assert len(set(merge_regions(graph, (0.41,), only_gradient)[0])) == 1


@pytest.mark.parametrize("with_depth", [True, False])
def test_afterwards_no_border_is_weaker_than_the_threshold_and_levels_nest(with_depth):
    cues = random_cues(3, with_depth)
    superpixels = cut_into_superpixels(cues, 6)
    graph = build_region_graph(cues, superpixels)
    thresholds = (-5.0, -3.5, 0.5) if with_depth else (-3.0, -1.0, 0.5)
    levels = merge_regions(graph, thresholds)
    for level, threshold in zip(levels, thresholds, strict=True):
        merged, _ = graph.merged(level, level.max() + 1)
        assert (border_log_odds(merged, np.arange(len(merged.pairs))) >= threshold - 1e-9).all()
    for finer, coarser in zip(levels, levels[1:], strict=False):
        assert len({(a, b) for a, b in zip(finer, coarser, strict=True)}) == finer.max() + 1
    assert levels[0].max() > levels[-1].max()


def test_evidence_that_is_kept_between_rounds_is_what_it_would_be_anew():
    cues = random_cues(4, with_depth=True)
    graph = build_region_graph(cues, cut_into_superpixels(cues, 6))
    seen = []

    def observe(current, changed, _):
        seen.append((len(current.pairs), len(changed)))

    level = merge_regions(graph, (0.0,), observe=observe)[0]
    assert seen[0][0] == seen[0][1]
    assert any(
        changed < borders for borders, changed in seen[1:]
    )  # work is saved, and the last test proves nothing is missed
    assert len(level) == len(graph.regions)


@pytest.mark.parametrize(("with_depth", "names"), [(True, EVIDENCE), (False, COLOR_EVIDENCE)])
def test_every_kind_of_evidence_has_a_weight_and_a_column(with_depth, names):
    assert set(DEPTH_WEIGHTS if with_depth else COLOR_WEIGHTS) == {"bias", *names}
    cues = random_cues(5, with_depth)
    graph = build_region_graph(cues, cut_into_superpixels(cues, 6))
    found = evidence(graph, np.arange(len(graph.pairs)))
    assert found.shape == (len(graph.pairs), len(names)) and np.isfinite(found).all()
    assert 0.5 < ASSUMED_FOCAL < 2.0


def test_borders_without_depth_on_either_side_are_judged_by_colour():
    """Half of the image has no depth: its borders get the odds they have without any."""
    cues = random_cues(6, with_depth=True)
    superpixels = cut_into_superpixels(cues, 6)
    half = replace(cues, inverse_depth=np.where(np.arange(cues.relief.shape[1]) < 48, cues.inverse_depth, 0))
    graph = build_region_graph(half, superpixels)
    blind = build_region_graph(replace(cues, inverse_depth=None), superpixels)
    which = np.arange(len(graph.pairs))
    known = graph.regions.knows_depth()[graph.pairs].all(axis=1)
    assert 0.2 < known.mean() < 0.8
    odds, by_colour = border_log_odds(graph, which), border_log_odds(blind, which)
    np.testing.assert_allclose(odds[~known], by_colour[~known])
    assert (odds[known] != by_colour[known]).all()
