"""The C++ kernels of stereo against torch's operations, on a ray-cast scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from cgc_ros.evaluation.synthetic import look_at, ray_cast
from cgc_ros.frame import Intrinsics
from cgc_ros.rendering.kernels import kernels
from cgc_ros.stereo.config import StereoConfig
from cgc_ros.stereo.cpu_matcher import CpuMatcher
from cgc_ros.stereo.matcher import Matcher, StereoView
from cgc_ros.stereo.plane_sweep import common_depth, stereo_depth

TARGET = np.array([0.0, 0.0, 0.06])
ANGLES = (0.0, 0.08, -0.1, 0.15, -0.2, 0.3)  # radians about the scene; the reference first


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small images gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=kernels.instruction_sets())
def instruction_set(request) -> Iterator[str]:
    best = kernels.instruction_set()
    kernels.use_instruction_set(request.param)
    yield request.param
    kernels.use_instruction_set(best)


def view(angle: float, width: int, height: int, zoom: float = 1.0) -> StereoView:
    focal = 0.9 * zoom * max(width, height)
    intrinsics = Intrinsics(width, height, focal, 1.02 * focal, 0.47 * width, 0.52 * height)
    position = np.array([1.1 * np.sin(angle), -1.1 * np.cos(angle), 0.65 + 0.05 * np.sin(5 * angle)])
    pose = look_at(position, TARGET)
    return StereoView(ray_cast(intrinsics, pose)[0], intrinsics, pose)


def views(*sizes: tuple[int, int]) -> list[StereoView]:
    """The scene, the reference first, at the sizes given, each a little closer than the one before."""
    return [view(angle, *size, 1.0 + 0.05 * i) for i, (angle, size) in enumerate(zip(ANGLES, sizes, strict=False))]


@pytest.mark.parametrize(
    "sizes",
    [
        [(240, 180)] * 4,
        [(240, 180)] * 2,
        [(201, 147), (160, 200), (333, 91)],
        [(400, 301)] * 2,
        [(160, 120)] * 6,
    ],
    ids=["three sources", "one source", "odd sizes", "shrunk", "five sources"],
)
@pytest.mark.parametrize("with_prior", [False, True], ids=["alone", "with a prior"])
def test_kernels_find_the_depth_that_torch_finds(sizes: list[tuple[int, int]], with_prior: bool, instruction_set: str):
    reference, *sources = views(*sizes)
    config = StereoConfig(max_sources=5)
    prior = np.full((33, 51), 1.1, np.float32) if with_prior else None
    expected = stereo_depth(reference, sources, config, prior, backend="torch")
    result = stereo_depth(reference, sources, config, prior, backend="cpu")
    assert (expected.depth > 0).float().mean() > 0.2
    assert ((result.depth > 0) == (expected.depth > 0)).float().mean() > 0.995
    both = (result.depth > 0) & (expected.depth > 0)
    assert ((result.depth / expected.depth - 1).abs()[both] < 1e-3).float().mean() > 0.98
    assert ((result.confidence - expected.confidence).abs()[both] < 1e-2).float().mean() > 0.98


def test_what_a_source_ignores_the_kernels_ignore_as_torch_does(instruction_set: str):
    reference, *sources = views(*[(400, 301)] * 3)
    ignore = np.zeros((301, 400), bool)
    ignore[60:240, 90:230] = True
    sources = [replace(source, ignore=ignore) for source in sources]
    config = StereoConfig(working_pixels=76_800)
    expected, result = (stereo_depth(reference, sources, config, backend=backend) for backend in ("torch", "cpu"))
    whole = stereo_depth(reference, [replace(source, ignore=None) for source in sources], config)
    assert ((whole.depth > 0).sum() - (expected.depth > 0).sum()) > 0.5 * ignore.sum()
    assert ((result.depth > 0) == (expected.depth > 0)).float().mean() > 0.99


def test_the_sweep_of_the_kernels_is_torchs(instruction_set: str):
    reference, *sources = views(*[(240, 180)] * 4)
    torchs, ours = (made(reference, sources, StereoConfig()) for made in (Matcher, CpuMatcher))
    least, greatest = torchs.search_range(None)
    assert ours.search_range(None) == pytest.approx((least, greatest), rel=1e-3)
    expected, swept = (matcher.sweep(least, greatest) for matcher in (torchs, ours))
    assert swept.step == pytest.approx(expected.step)
    assert ((swept.w - expected.w).abs() < 0.01 * expected.step).float().mean() > 0.99
    assert ((swept.lead - expected.lead).abs() < 1e-3).float().mean() > 0.99
    assert (swept.inside == expected.inside).float().mean() > 0.99


def test_the_common_depth_of_the_kernels_is_torchs():
    reference, *sources = views(*[(160, 120)] * 3)
    expected = common_depth(reference, sources, backend="torch")
    assert common_depth(reference, sources, backend="cpu") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (9, 40), (17, 5)])
def test_images_of_a_few_pixels_get_no_depth_but_no_fault_either(size: tuple[int, int]):
    result = stereo_depth(view(0.0, *size), [view(0.1, *size), view(-0.1, 30, 20)], backend="cpu")
    assert result.depth.shape == result.confidence.shape == size[::-1]
    assert torch.isfinite(result.depth).all() and torch.isfinite(result.confidence).all()


def test_a_source_behind_or_blank_is_as_good_as_none():
    reference, source = views((160, 120), (160, 120))
    behind = StereoView(source.image, source.intrinsics, source.world_from_camera @ np.diag([-1.0, 1.0, -1.0, 1.0]))
    black = StereoView(np.zeros_like(source.image), source.intrinsics, source.world_from_camera)
    for blind in (behind, black):
        assert (stereo_depth(reference, [blind], backend="cpu").depth > 0).float().mean() < 0.01
    alone, beside = (stereo_depth(reference, sources).depth for sources in ([source], [source, behind]))
    assert ((alone > 0) == (beside > 0)).float().mean() > 0.99


def test_kernels_are_deterministic():
    reference, *sources = views(*[(160, 120)] * 4)
    first, second = (stereo_depth(reference, sources, backend="cpu") for _ in range(2))
    assert torch.equal(first.depth, second.depth) and torch.equal(first.confidence, second.confidence)


@pytest.mark.parametrize(("source", "target"), [((64, 48), (31, 20)), ((50, 37), (50, 12)), ((640, 480), (320, 240))])
def test_images_shrink_as_torch_shrinks_them(source: tuple[int, int], target: tuple[int, int], instruction_set: str):
    image = np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    expected = torch.nn.functional.interpolate(
        planes[None], size=target[::-1], mode="bilinear", antialias=True, align_corners=False
    )[0].numpy()
    color = kernels.resized_bytes(image, width=target[0], height=target[1], color=True)
    np.testing.assert_allclose(color, expected, atol=1e-5)
    grey = np.tensordot([0.299, 0.587, 0.114], expected, axes=1)
    np.testing.assert_allclose(
        kernels.resized_bytes(image, width=target[0], height=target[1], color=False), grey, atol=1e-5
    )
    full = np.tensordot([0.299, 0.587, 0.114], planes.numpy(), axes=1).astype(np.float32)
    np.testing.assert_allclose(kernels.resized_grey(full, width=target[0], height=target[1]), grey, atol=1e-5)


def test_what_kernels_cannot_match_is_refused_with_the_number():
    reference, source = views((32, 24), (32, 24))
    with pytest.raises(ValueError, match="at most 8 sources.*not 9"):
        CpuMatcher(reference, [source] * 9, StereoConfig())
    with pytest.raises(ValueError, match="odd.*not 4"):
        CpuMatcher(reference, [source], StereoConfig()).kernel_level.images.contrast(4)
    with pytest.raises(ValueError, match="'cuda'"):
        stereo_depth(reference, [source], backend="cuda")
