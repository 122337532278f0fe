"""Stereo between posed views, on scenes whose depth is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import StereoConfig
from cgc_ros.stereo.matcher import StereoResult, StereoView
from cgc_ros.stereo.matching import BoxWindow, MatchLevel, SupportWindow, over_sources
from cgc_ros.stereo.plane_sweep import common_depth, stereo_depth
from cgc_ros.stereo.selection import (
    agreeing_neighbours,
    best_plane,
    keeps_its_match,
    parabola_peak,
    semi_global,
    share_of_alike_neighbours,
)

CAMERA = Intrinsics(width=160, height=120, fx=140.0, fy=140.0, cx=79.5, cy=59.5)


@pytest.fixture(autouse=True)
def one_thread():
    """Small images gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Plane:
    """normal . x = offset in the world, painted with waves; `half_size` bounds it to a square about the z axis."""

    normal: tuple[float, float, float]
    offset: float
    seed: int = 0
    amplitude: float = 0.35  # of grey values 0..1; 0 is a blank wall
    wavelengths: tuple[float, float] = (0.05, 0.4)  # of the offset
    tint: tuple[float, float, float] = (1.0, 0.9, 0.8)
    half_size: float = math.inf

    def hit(self, origins: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance along the rays (inf where missed) and colour there, [H, W] and [H, W, 3]."""
        normal = np.array(self.normal) / np.linalg.norm(self.normal)
        distance = (self.offset - origins @ normal) / (rays @ normal)
        points = origins + distance[..., None] * rays
        inside = np.abs(points[..., :2]).max(-1) < self.half_size
        return np.where(inside & (distance > 0), distance, np.inf), self._paint(points)

    def _paint(self, points: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        waves = 16
        lengths = abs(self.offset) * np.exp(rng.uniform(*np.log(self.wavelengths), waves))
        directions = rng.normal(size=(waves, 3))
        directions *= (2 * np.pi / lengths / np.linalg.norm(directions, axis=1))[:, None]
        phase = points @ directions.T + rng.uniform(0, 2 * np.pi, waves)
        grey = 0.5 + self.amplitude * np.sin(phase).sum(-1) / math.sqrt(waves / 2) / 2
        return np.clip(grey[..., None] * np.array(self.tint), 0, 1)


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """World from camera; angles in radians."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    matrix[:3, 3] = (x, y, z)
    return matrix


def render(
    planes: list[Plane], world_from_camera: np.ndarray, camera: Intrinsics = CAMERA
) -> tuple[StereoView, np.ndarray]:
    """What a pinhole camera sees of the planes, and its depth along z."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack(((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)), axis=-1)
    hits = [plane.hit(world_from_camera[:3, 3], rays @ world_from_camera[:3, :3].T) for plane in planes]
    depth = np.min([distance for distance, _ in hits], axis=0)
    color = np.select([(distance == depth)[..., None] for distance, _ in hits], [color for _, color in hits])
    return StereoView(np.round(255 * color).astype(np.uint8), camera, world_from_camera), depth


def accuracy(result: StereoResult, depth: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Share of pixels with depth, and of those the share within `tolerance` (relative)."""
    estimate = result.depth.numpy()
    valid = estimate > 0
    if not valid.any():
        return 0.0, float("nan")
    return float(valid.mean()), float((np.abs(estimate - depth)[valid] < tolerance * depth[valid]).mean())


WALL = Plane((0, 0, 1), 2.0)


PLANES = {
    "facing": WALL,
    "turned": Plane((0.5, 0, 1), 2.0),
    "floor": Plane((0, -0.8, 1), 2.0),
    "oblique": Plane((-0.4, 0.4, 1), 2.0),
}
SOURCES = {"beside": pose(x=0.25), "below, turned": pose(y=0.25, yaw=0.03), "ahead": pose(x=0.25, z=0.15, pitch=-0.02)}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_depth_of_a_textured_plane_is_right_to_a_third_of_a_pixel(plane: Plane, source: np.ndarray):
    reference, depth = render([plane], pose())
    estimate = stereo_depth(reference, [render([plane], source)[0]]).depth.numpy()
    valid = estimate > 0
    pixels = CAMERA.fx * np.linalg.norm(source[:2, 3]) * np.abs(1 / estimate[valid] - 1 / depth[valid])
    assert valid.mean() > 0.6
    assert np.median(pixels) < 0.1
    assert (pixels < 1 / 3).mean() > 0.95


def test_moving_straight_ahead_leaves_the_centre_without_depth():
    reference, depth = render([WALL], pose())
    estimate = stereo_depth(reference, [render([WALL], pose(z=0.35))[0]]).depth.numpy()
    # A point r pixels from the centre moves by r * 0.35 / (2 - 0.35): 6 pixels take r = 28.
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    radius = np.hypot(u - CAMERA.cx, v - CAMERA.cy)
    assert (estimate[radius < 25] > 0).mean() < 0.01
    ring = (radius > 35) & (radius < 50)
    assert (np.abs(estimate[ring] - 2.0) < 0.06).mean() > 0.7


def test_the_result_has_the_size_of_the_image_even_where_matching_shrinks_it():
    camera = CAMERA.scaled_to(400, 300)
    plane = Plane((0.5, 0, 1), 2.0)
    reference, depth = render([plane], pose(), camera)
    result = stereo_depth(reference, [render([plane], pose(x=0.2), camera)[0]], StereoConfig(working_pixels=160 * 120))
    assert result.depth.shape == result.confidence.shape == (300, 400)
    assert result.depth.dtype == result.confidence.dtype == torch.float32
    coverage, within = accuracy(result, depth, 0.01)
    assert coverage > 0.65 and within > 0.9


def test_pixels_have_confidence_exactly_where_they_have_depth():
    reference, _ = render([WALL], pose())
    result = stereo_depth(reference, [render([WALL], pose(x=0.3))[0]])
    assert 0 < (result.depth > 0).sum() < result.depth.numel()  # a strip on one side is out of the source's view
    assert torch.equal(result.depth > 0, result.confidence > 0)
    assert result.confidence.max() <= 1


def test_a_blank_wall_gets_no_depth():
    rng = np.random.default_rng(0)
    blank = replace(WALL, amplitude=0.0)
    views = [render([blank], pose(x=x))[0] for x in (0.0, 0.2, -0.2)]
    noisy = [replace(view, image=(view.image + rng.normal(0, 1, view.image.shape)).astype(np.uint8)) for view in views]
    for reference, *sources in (views, noisy):
        assert (stereo_depth(reference, sources).depth > 0).float().mean() < 0.01


def test_wrong_poses_get_little_depth():
    reference, _ = render([WALL], pose())
    right = render([WALL], pose(x=0.2))[0]
    wrong = replace(right, world_from_camera=pose(x=0.2, pitch=math.radians(6)))
    expected, wrongly = ((stereo_depth(reference, [source]).depth > 0).float().mean() for source in (right, wrong))
    assert expected > 0.7
    assert wrongly < 0.1


def test_a_repeated_pattern_is_not_guessed_at():
    stripes = replace(WALL, wavelengths=(0.12, 0.1201), seed=3)
    reference, depth = render([stripes], pose())
    result = stereo_depth(reference, [render([stripes], pose(x=0.2))[0]])
    assert ((result.depth.numpy() > 0) & (np.abs(result.depth.numpy() - depth) > 0.05 * depth)).mean() < 0.03


def test_a_foreground_does_not_fatten_over_its_background():
    background = Plane((0, 0, 1), 3.0, seed=1, tint=(0.5, 0.8, 1.0))
    square = Plane((0, 0, 1), 1.8, seed=2, tint=(1.0, 0.6, 0.4), half_size=0.45)
    reference, depth = render([square, background], pose())
    sources = [render([square, background], pose(x=x))[0] for x in (-0.15, 0.15)]
    estimate = stereo_depth(reference, sources).depth.numpy()
    wrong = (estimate > 0) & (np.abs(estimate - depth) > 0.05 * depth)
    on_background = (depth > 2.5) & (estimate > 0)
    assert wrong.mean() < 0.02
    assert (estimate[on_background] < 2.4).mean() < 0.02
    assert ((estimate > 0) & (depth < 2.5)).sum() > 0.8 * (depth < 2.5).sum()


def test_what_one_source_cannot_see_another_settles():
    background = Plane((0, 0, 1), 3.0, seed=1, tint=(0.5, 0.8, 1.0))
    square = Plane((0, 0, 1), 1.5, seed=2, tint=(1.0, 0.6, 0.4), half_size=0.3)
    scene = [square, background]
    reference, depth = render(scene, pose())
    left, right = (render(scene, pose(x=x))[0] for x in (-0.25, 0.25))
    # Background beside the square's right edge: behind the square for the camera on the left, x * f (1/1.5 - 1/3).
    edge = round(CAMERA.cx + 0.3 / 1.5 * CAMERA.fx)
    hidden = (slice(40, 80), slice(edge + 2, edge + 2 + 8))
    both = stereo_depth(reference, [left, right]).depth.numpy()[hidden]
    assert (np.abs(both - 3.0) < 0.1).mean() > 0.8


def test_exposure_and_contrast_may_change_between_views():
    reference, depth = render([WALL], pose())
    source, _ = render([WALL], pose(x=0.2))
    dimmed = replace(source, image=np.round(0.6 * source.image + 12).astype(np.uint8))
    coverage, within = accuracy(stereo_depth(reference, [dimmed]), depth, 0.01)
    assert coverage > 0.7 and within > 0.98


@settings(max_examples=8, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    tilt=st.floats(-0.6, 0.6),
    sideways=st.floats(0.12, 0.3),
    forward=st.floats(-0.1, 0.1),
    seed=st.integers(0, 1000),
)
def test_depth_scales_with_the_unit_of_the_poses(scale: float, tilt: float, sideways: float, forward: float, seed: int):
    plane = Plane((tilt, 0, 1), 2.0, seed=seed)
    views = [render([plane], pose(x=x, z=z))[0] for x, z in ((0.0, 0.0), (sideways, forward))]
    depth = stereo_depth(views[0], views[1:]).depth
    for view in views:
        view.world_from_camera[:3, 3] *= scale
    scaled = stereo_depth(views[0], views[1:]).depth / scale
    both = (depth > 0) & (scaled > 0)
    assert both.sum() > 0.99 * (depth > 0).sum() > 0  # thresholds may flip single pixels by rounding
    assert torch.median((scaled - depth).abs()[both] / depth[both]) < 1e-4


@pytest.mark.parametrize("factor", [0.0, float("nan"), 0.5, 3.0])
def test_a_wrong_prior_does_no_harm(factor: float):
    reference, depth = render([WALL], pose())
    source = render([WALL], pose(x=0.2))[0]
    prior = (depth * factor).astype(np.float32)
    alone = accuracy(stereo_depth(reference, [source]), depth, 0.01)
    coverage, within = accuracy(stereo_depth(reference, [source], prior_depth=prior), depth, 0.01)
    assert coverage > alone[0] - 0.02 and within > alone[1] - 0.01


def test_a_prior_of_another_size_widens_the_range():
    """A small near object that the coarse search overlooks among the far wall is found with the map's help."""
    wall = Plane((0, 0, 1), 4.0, seed=1, wavelengths=(0.06, 0.3))
    near = Plane((0, 0, 1), 1.0, seed=2, half_size=0.04, tint=(1.0, 0.5, 0.3), wavelengths=(0.05, 0.2))
    reference, depth = render([near, wall], pose())
    source = render([near, wall], pose(x=0.15))[0]
    prior = torch.from_numpy(depth.astype(np.float32))[::2, ::2]
    found = stereo_depth(reference, [source], prior_depth=prior).depth.numpy()[depth < 2]
    assert (np.abs(found - 1.0) < 0.02).mean() > 0.3


def test_no_parallax_no_depth():
    reference, _ = render([WALL], pose())
    turned, _ = render([WALL], pose(yaw=0.1))
    barely, _ = render([WALL], pose(x=0.005))  # 0.005 / 2 * 140 = 0.35 pixels
    for sources in ([], [turned], [barely]):
        result = stereo_depth(reference, sources)
        assert result.depth.shape == (120, 160)
        assert (result.depth > 0).sum() == 0


@given(st.floats(1e-2, 1e2), st.floats(0.02, 0.3), st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_the_common_depth_of_a_view_needs_little_parallax_and_no_unit(scale: float, sideways: float, seed: int):
    plane = Plane((0, 0, 1), 2.0, seed=seed)
    views = [render([plane], pose(x=x))[0] for x in (0.0, sideways)]
    for view in views:
        view.world_from_camera[:3, 3] *= scale
    # 0.02 of 2 m are 1.4 pixels; the planes are 0.7 pixels apart, the images 30 pixels high
    assert common_depth(views[0], views[1:]) == pytest.approx(2.0 * scale, rel=0.25 if sideways < 0.2 else 0.1)


def test_without_motion_or_texture_there_is_no_common_depth():
    blank = replace(WALL, amplitude=0.0)
    assert common_depth(render([blank], pose())[0], [render([blank], pose(x=0.2))[0]]) is None
    reference, _ = render([WALL], pose())
    for sources in ([], [render([WALL], pose(yaw=0.1))[0]], [render([WALL], pose(x=0.002))[0]]):
        assert common_depth(reference, sources) is None


def test_an_image_of_another_size_than_its_calibration_is_refused():
    reference, _ = render([WALL], pose())
    with pytest.raises(ValueError, match=r"\(60, 160, 3\).*\(120, 160, 3\)"):
        stereo_depth(replace(reference, image=reference.image[:60]), [reference])


def test_ignored_pixels_of_a_reference_get_no_depth():
    reference, depth = render([WALL], pose())
    source = render([WALL], pose(x=0.2))[0]
    ignore = np.zeros((CAMERA.height, CAMERA.width), bool)
    ignore[40:80, 60:100] = True
    result = stereo_depth(replace(reference, ignore=ignore), [source])
    whole = stereo_depth(reference, [source])
    assert not result.depth.numpy()[ignore].any() and not result.confidence.numpy()[ignore].any()
    assert (whole.depth.numpy()[ignore] > 0).mean() > 0.5
    assert ((result.depth > 0).numpy() == (whole.depth > 0).numpy())[~ignore].mean() > 0.99


def test_ignored_pixels_of_a_source_match_nothing_whatever_they_show():
    reference, depth = render([WALL], pose())
    source = render([WALL], pose(x=0.2))[0]
    ignore = np.zeros((CAMERA.height, CAMERA.width), bool)
    ignore[:, : CAMERA.width // 2] = True
    covered = replace(source, image=np.where(ignore[..., None], 255 - source.image, source.image))
    results = [stereo_depth(reference, [replace(each, ignore=ignore)]) for each in (source, covered)]
    assert torch.equal(results[0].depth, results[1].depth)
    columns = np.arange(CAMERA.width) - CAMERA.fx * 0.2 / 2.0  # where the wall's pixels lie in the source
    hidden = np.broadcast_to(columns < CAMERA.width // 2 - 6, depth.shape)
    shown = np.broadcast_to(columns > CAMERA.width // 2 + 6, depth.shape)
    assert not results[0].depth.numpy()[hidden].any()
    assert (results[0].depth.numpy()[shown] > 0).mean() > 0.5


def test_every_tensor_is_made_on_the_device_of_the_images():
    """Anything made without naming a device would land on `meta` here, and fail."""
    views = [render([WALL], pose(x=x))[0] for x in (0.0, 0.2, -0.2, 0.1)]
    reference, *sources = (replace(view, image=torch.from_numpy(view.image)) for view in views)
    expected = stereo_depth(reference, sources, prior_depth=np.full((60, 80), 2.0, np.float32))
    with torch.device("meta"):
        result = stereo_depth(reference, sources, prior_depth=np.full((60, 80), 2.0, np.float32))
    assert torch.equal(result.depth, expected.depth)


def level(sources: int = 1, seed: int = 0) -> MatchLevel:
    rng = np.random.default_rng(seed)
    camera = Intrinsics(24, 20, 20.0, 20.0, 11.5, 9.5)
    images = [torch.from_numpy(rng.random((20, 24), dtype=np.float32)) for _ in range(sources + 1)]
    moves = [np.linalg.inv(pose(x=0.1 * (i + 1))) for i in range(sources)]
    return MatchLevel(images[0], images[1:], camera, [camera] * sources, moves, noise=1e-3, hidden=0.1)


def test_square_windows_score_as_numpy_correlates():
    stage = level()
    score = BoxWindow(stage, 3)(torch.full((1, 1, 1), 2.0))[0, 9, 12]  # f b w = 20 * 0.1 * 2 = 4 pixels
    patch, seen = stage.reference[8:11, 11:14], stage.sources[0][8:11, 7:10]
    assert score == pytest.approx(np.corrcoef(patch.flatten(), seen.flatten())[0, 1], abs=1e-3)


def test_support_windows_of_one_colour_are_gaussian_windows():
    stage = level()
    w = torch.full((1, 1, 1), 2.0)  # 4 pixels
    score = SupportWindow(stage, torch.ones(3, 20, 24), taps=3, stride=1, color_sigma=0.1)(w)[0, 9, 12]
    patch, seen = stage.reference[8:11, 11:14].numpy(), stage.sources[0][8:11, 7:10].numpy()
    offset = np.array([-1.0, 0.0, 1.0])
    weights = np.exp(-(offset[:, None] ** 2 + offset**2) / 2.0)
    covariance = np.cov(patch.flatten(), seen.flatten(), aweights=weights.flatten(), ddof=0)
    assert score == pytest.approx(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]), abs=1e-3)


def test_pixels_of_another_colour_have_no_say_in_a_support_window():
    stage = level()
    color = torch.zeros(3, 20, 24)
    color[:, :, 12:] = 1.0
    w = torch.full((1, 1, 1), 2.0)
    before = SupportWindow(stage, color, taps=5, stride=1, color_sigma=0.05)(w)[0, 9, 11]
    stage.reference[:, 12:] = 0.3  # the other side of the edge changes
    after = SupportWindow(stage, color, taps=5, stride=1, color_sigma=0.05)(w)[0, 9, 11]
    assert after == pytest.approx(float(before))


def test_sources_are_averaged_and_one_that_sees_something_else_costs_little():
    nan = float("nan")
    scores = torch.tensor([[0.9, 0.9, nan, nan, nan], [0.8, -0.4, 0.2, nan, nan], [0.7, 0.7, 0.1, 0.3, nan]])
    # the mean of all; the best two less 0.1; the mean of two; the only one; nobody
    assert over_sources(list(scores), 0.1).tolist() == pytest.approx([0.8, 0.7, 0.15, 0.3, -1.0])
    assert over_sources(list(scores[:2]), 0.1).tolist() == pytest.approx([0.85, 0.8, 0.2, -1.0, -1.0])
    assert over_sources(list(scores[:1]), 0.1).tolist() == pytest.approx([0.9, 0.9, -1.0, -1.0, -1.0])


def test_semi_global_is_hirschmuellers_recurrence():
    """Against the recurrence of the paper (eq. 13), written out pixel by pixel."""
    rng = np.random.default_rng(0)
    volume, guide = rng.uniform(-1, 1, (5, 4, 6)), rng.uniform(0, 1, (4, 6))
    small, large, edge = 0.2, 0.9, 0.1
    planes, height, width = volume.shape
    expected = np.zeros_like(volume)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        path = np.zeros_like(volume)
        for y in range(height)[:: dy or 1]:
            for x in range(width)[:: dx or 1]:
                cost, (py, px) = 1 - volume[:, y, x], (y - dy, x - dx)
                if not (0 <= py < height and 0 <= px < width):
                    path[:, y, x] = cost
                    continue
                before = path[:, py, px]
                jump = small + (large - small) / (1 + abs(guide[y, x] - guide[py, px]) / edge)
                for d in range(planes):
                    steps = [before[d], before.min() + jump]
                    steps += [before[n] + small for n in (d - 1, d + 1) if 0 <= n < planes]
                    path[d, y, x] = cost[d] + min(steps) - before.min()
        expected += path
    result = semi_global(torch.from_numpy(volume).float(), torch.from_numpy(guide).float(), small, large, edge)
    np.testing.assert_allclose(result.numpy(), -expected / 4, atol=1e-5)


@given(st.floats(-0.49, 0.49), st.floats(0.1, 10.0))
def test_the_peak_of_a_parabola_is_exact(peak: float, curvature: float):
    below, at, above = (torch.tensor(-curvature * (x - peak) ** 2, dtype=torch.float64) for x in (-1, 0, 1))
    assert parabola_peak(below, at, above) == pytest.approx(peak, abs=1e-9)


def test_the_lead_of_a_plane_is_over_those_not_beside_it():
    volume = torch.tensor([0.1, 0.8, 0.9, 0.7, 0.2, 0.6, 0.0])[:, None, None]
    index, position, lead = best_plane(volume)
    assert index.item() == 2
    assert position.item() == pytest.approx(2 + 0.5 * (0.8 - 0.7) / (0.8 - 1.8 + 0.7))
    assert lead.item() == pytest.approx(0.9 - 0.6)


def test_neighbours_of_like_colour_must_share_the_depth():
    color, w = torch.zeros(3, 21, 21), torch.ones(21, 21)
    color[:, :, 10:] = 1.0
    w[:, 10:] = 2.0
    whole = share_of_alike_neighbours(color, w, 0.1, 0.05, reach=6)
    assert whole[10, 9] == pytest.approx(1.0, abs=1e-3) and whole[10, 10] == pytest.approx(1.0, abs=1e-3)
    w[:, 8:10] = 2.0  # the right side fattened over the left
    assert share_of_alike_neighbours(color, w, 0.1, 0.05, reach=6)[10, 9] < 0.5


def test_agreeing_neighbours_average_and_speckles_find_no_support():
    w = torch.full((15, 15), 1.0)
    w[::2] += 0.01
    w[7, 7] = 5.0
    mean, support = agreeing_neighbours(w, torch.full_like(w, 0.8), tolerance=0.1, reach=3)
    assert mean[7, 3] == pytest.approx(1.0 + 0.01 * 3 / 7, abs=2e-3)  # 3 of the 7 rows about row 7 are even
    assert mean[7, 7] == pytest.approx(5.0)
    assert support[7, 7] == pytest.approx(0.8 / 49)
    assert support[7, 3] == pytest.approx(0.8, abs=0.8 * 2 / 49)


def test_two_surfaces_cannot_have_the_same_source_pixel():
    stage = level()
    w = torch.full((20, 24), 1.0)  # lands 2 pixels to the left
    w[9, 14] = 2.0  # lands 4 to the left, where (9, 12) does
    confidence = torch.full_like(w, 0.5)
    confidence[9, 14] = 0.9
    kept = keeps_its_match(stage, w, confidence, tolerance=0.1)
    assert kept[9, 14] and not kept[9, 12] and kept[9, 13]
    confidence[9, 14] = 0.4
    kept = keeps_its_match(stage, w, confidence, tolerance=0.1)
    assert not kept[9, 14] and kept[9, 12]
