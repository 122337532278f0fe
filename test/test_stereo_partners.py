"""Which views a view is matched with, where angles and overlaps are known in closed form."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.matcher import StereoView
from cgc_ros.stereo.partners import choose_partners

CAMERA = Intrinsics(width=160, height=120, fx=140.0, fy=140.0, cx=79.5, cy=59.5)
DEPTH = 2.0


def view(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> StereoView:
    """Facing z from (x, y, 0), turned by `yaw` radians."""
    pose = np.eye(4)
    pose[:3, :3] = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    pose[:2, 3] = x, y
    return StereoView(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, pose)


def at_angle(degrees: float, yaw: float = 0.0) -> StereoView:
    """A view beside `view()` whose line of sight to what lies `DEPTH` ahead differs by an angle."""
    return view(x=DEPTH * math.tan(math.radians(degrees)), yaw=yaw)


def test_the_ideal_angle_goes_first_and_what_shows_too_little_does_not_go_at_all():
    candidates = [
        at_angle(0.3),  # hardly any parallax
        at_angle(4.0),
        at_angle(8.5),
        at_angle(35.0),  # sees less than 40% of the view
        at_angle(4.0, yaw=math.pi),  # looks away
        view(),  # the same place
    ]
    assert choose_partners(view(), candidates, 2, DEPTH) == [1, 2]
    assert choose_partners(view(), candidates, 9, DEPTH) == [1, 2]
    assert choose_partners(view(), candidates[3:], 3, DEPTH) == []
    assert choose_partners(view(), [], 3) == []


def test_a_wide_view_is_taken_only_where_there_is_nothing_better():
    wide = at_angle(24.0)
    assert choose_partners(view(), [wide], 5, DEPTH) == [0]
    assert choose_partners(view(), [wide, at_angle(5.0), at_angle(-5.0)], 5, DEPTH) == [1, 2]


def test_partners_stand_on_several_sides():
    crowd = [at_angle(degrees) for degrees in (3.8, 3.9, 4.0, 4.1)]
    other_side = at_angle(-5.0)
    assert 4 in choose_partners(view(), [*crowd, other_side], 2, DEPTH)


def test_one_partner_serves_the_background():
    """At four times the depth the ideal angle takes four times the baseline, about 16 degrees here."""
    near = [at_angle(degrees) for degrees in (3.0, 4.0, 5.0, -3.0, -4.0, -5.0)]
    assert 6 in choose_partners(view(), [*near, at_angle(14.0)], 5, DEPTH)


def test_when_a_view_was_taken_does_not_matter():
    rng = np.random.default_rng(0)
    candidates = [at_angle(degrees) for degrees in (-9.0, -4.0, -2.0, 1.0, 5.0, 14.0)]
    chosen = {id(candidates[index]) for index in choose_partners(view(), candidates, 3, DEPTH)}
    order = rng.permutation(len(candidates))
    shuffled = [candidates[index] for index in order]
    assert {id(shuffled[index]) for index in choose_partners(view(), shuffled, 3, DEPTH)} == chosen


@given(st.floats(1e-3, 1e3))
def test_the_choice_does_not_depend_on_the_unit(scale: float):
    candidates = [view(x=x * scale) for x in (0.5, 0.1, 0.2)]
    assert choose_partners(view(), candidates, 2) == [1, 2]  # no hint: the nearest is the ideal
