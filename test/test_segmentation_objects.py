"""What an object is taken for, and which of its Gaussians make up its body."""

import numpy as np

from cgc_ros.segmentation.background import is_background, object_length
from cgc_ros.segmentation.objects import without_floaters

WHOLE, CUT = np.zeros(10, dtype=bool), np.ones(10, dtype=bool)
SMALL = np.full(10, 0.05)


def test_length_ignores_strays_and_follows_the_unit():
    points = np.random.default_rng(0).uniform([-1, -0.1, 0], [1, 0.1, 0], (4000, 3))
    length = object_length(points)
    assert 1.6 < length < 2.0
    strays = np.concatenate([points, [[50.0, 0, 0]] * 40])
    assert abs(object_length(strays) - length) < 0.05
    assert np.isclose(object_length(10 * points), 10 * length)
    assert object_length(np.zeros((0, 3))) == 0.0


def test_large_things_are_background_and_small_ones_are_not():
    assert is_background(1.5, WHOLE, SMALL)
    assert not is_background(0.3, WHOLE, SMALL)
    assert is_background(0.1, WHOLE, np.full(10, 0.6))


def test_a_small_thing_at_the_border_of_every_view_is_still_a_thing():
    assert not is_background(0.2, CUT, SMALL)
    assert is_background(0.6, CUT, SMALL)  # a part of something larger
    assert not is_background(0.6, WHOLE, SMALL)


def test_one_wrong_mask_does_not_make_a_wall_of_a_cup():
    areas = SMALL.copy()
    areas[3] = 0.9
    assert not is_background(0.2, WHOLE, areas)


def test_near_the_limit_an_object_stays_what_it_was():
    for length in (0.9, 1.1):
        assert is_background(length, WHOLE, SMALL, before=True)
        assert not is_background(length, WHOLE, SMALL, before=False)
    assert not is_background(0.5, WHOLE, SMALL, before=True)
    assert is_background(1.5, WHOLE, SMALL, before=False)


def test_small_groups_away_from_the_body_are_floaters():
    rng = np.random.default_rng(1)
    body = rng.normal(0, 0.05, (500, 3))
    group = rng.normal([1.0, 0, 0], 0.02, (20, 3))
    kept = without_floaters(np.concatenate([body, group]))
    assert kept[:500].mean() > 0.95
    assert not kept[500:].any()


def test_both_halves_of_an_object_seen_in_two_parts_stay():
    rng = np.random.default_rng(2)
    halves = np.concatenate([rng.normal(0, 0.05, (300, 3)), rng.normal([1.0, 0, 0], 0.05, (200, 3))])
    assert without_floaters(halves).mean() > 0.95


def test_few_points_are_all_kept():
    assert without_floaters(np.random.default_rng(3).normal(size=(5, 3))).all()


def test_what_views_cut_differently_is_no_thing_and_one_near_the_limit_stays_what_it_was():
    assert is_background(0.3, WHOLE, SMALL, agreement=0.35)
    assert not is_background(0.3, WHOLE, SMALL, agreement=0.45)
    for agreement in (0.35, 0.45):
        assert is_background(0.3, WHOLE, SMALL, before=True, agreement=agreement)
        assert not is_background(0.3, WHOLE, SMALL, before=False, agreement=agreement)
