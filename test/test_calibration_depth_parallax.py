"""Depth against parallax: a wrong unit is named early and once, a right one never."""

from dataclasses import replace

import numpy as np
import pytest
from calibration_scenes import wall_frame

from cgc_ros.calibration.depth_parallax import DepthParallaxWatch
from cgc_ros.mapping import Mapper, MapperConfig


def watched(depth_factor, steps=8):
    watch = DepthParallaxWatch()
    for step in range(steps):
        watch.look(wall_frame(step, depth_factor))
    return watch


@pytest.mark.parametrize("factor", [0.1, 0.2, 0.6, 1.7, 5.0, 10.0])
def test_a_wrong_unit_is_named_with_the_one_that_fits(factor):
    watch = watched(factor)
    assert watch.is_settled and watch.ratio == pytest.approx(factor, rel=0.05)
    text = watch.contradiction()
    assert f"{watch.ratio:.3g} times" in text and "depth_unit" in text and f"{0.001 / watch.ratio:.2g}" in text


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_depth_that_agrees_within_half_is_not(factor):
    watch = watched(factor)
    assert watch.is_settled and watch.contradiction() == ""


def test_nothing_more_is_asked_once_it_is_settled():
    watch = watched(1.0)
    for step in range(8):
        watch.look(wall_frame(step, 10.0))
    assert watch.ratio is None
    watch.clear()
    assert not watch.is_settled


def test_a_camera_that_stands_still_tells_nothing():
    watch = DepthParallaxWatch()
    for stamp in range(60):
        watch.look(replace(wall_frame(0, 10.0), stamp_ns=stamp))
    assert not watch.is_settled and watch.contradiction() == ""


def test_ignored_pixels_and_frames_without_depth_have_no_say():
    watch = DepthParallaxWatch()
    for step in range(8):
        frame = wall_frame(step, 10.0)
        watch.look(replace(frame, depth=None))
        watch.look(replace(frame, ignore=np.ones(frame.depth.shape, bool)))
    assert watch.contradiction() == ""


def test_the_mapper_names_it_until_it_is_reset():
    mapper = Mapper(MapperConfig(backend="cpu", sh_degree=0))
    for step in range(8):
        mapper.add_frame(wall_frame(step, 5.0))
    assert "5 times" in mapper.faults()["depth_scale"]
    mapper.reset()
    assert "depth_scale" not in mapper.faults()
