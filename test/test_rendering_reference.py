"""The oracle itself: finite differences, hand-derived pixels, and scipy's spherical harmonics."""

import math

import numpy as np
import pytest
import torch
from rendering_scenes import random_scene, relative_error
from scipy.special import factorial, lpmv

from cgc_ros.rendering import Camera, rasterize
from cgc_ros.rendering.spherical_harmonics import basis

EYE = torch.eye(4, dtype=torch.float64)


def one_gaussian(opacity: float, sigma_pixels: float = 3.0, z: float = 2.0):
    """A round Gaussian on the axis of a 9x9 camera, of the given standard deviation on the screen before eps2d."""
    camera = Camera(9, 9, 50.0, 50.0, 4.5, 4.5, EYE)
    scale = sigma_pixels * z / 50.0
    means = torch.tensor([[0.0, 0.0, z]], dtype=torch.float64)
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    scales = torch.full((1, 3), scale, dtype=torch.float64)
    return means, quats, scales, torch.tensor([opacity], dtype=torch.float64), camera


def test_a_pixel_is_opacity_times_the_gaussian_at_its_centre():
    *gaussian, camera = one_gaussian(0.6)
    alpha = rasterize(*gaussian, camera, backend="reference").alpha
    variance = 3.0**2 + 0.3  # eps2d is added to the projected covariance
    expected = 0.6 * math.exp(-0.5 * (2.0**2 + 1.0**2) / variance)
    assert alpha[4 + 1, 4 + 2].item() == pytest.approx(expected, rel=1e-12)
    assert alpha[4, 4].item() == pytest.approx(0.6, rel=1e-12)


def test_alpha_is_cut_at_one_in_255_and_clamped_at_0_999():
    *gaussian, camera = one_gaussian(0.6, sigma_pixels=1.0)
    alpha = rasterize(*gaussian, camera, backend="reference").alpha
    squared = torch.arange(9, dtype=torch.float64).sub(4).square()
    raw = 0.6 * torch.exp(-0.5 * (squared[:, None] + squared) / 1.3)
    assert torch.equal(alpha > 0, raw >= 1 / 255)
    *gaussian, camera = one_gaussian(1.0)
    assert rasterize(*gaussian, camera, backend="reference").alpha[4, 4].item() == pytest.approx(0.999)


def test_blending_stops_before_the_gaussian_that_exhausts_the_transmittance():
    means, quats, scales, opacities, camera = one_gaussian(0.991)
    count = 4  # T: 9e-3, then 8.1e-5, which is too little: only the first is blended
    means = means.repeat(count, 1)
    means[:, 2] += torch.arange(count) * 0.1
    colors = torch.eye(4, dtype=torch.float64)[:, :3]
    out = rasterize(
        means,
        quats.repeat(count, 1),
        scales.repeat(count, 1),
        opacities.repeat(count),
        camera,
        colors=colors,
        background=torch.ones(3, dtype=torch.float64),
        depth=True,
        backend="reference",
    )
    assert out.alpha[4, 4].item() == pytest.approx(0.991)
    assert out.color[4, 4].tolist() == pytest.approx([1.0, 0.009, 0.009])
    assert out.depth[4, 4].item() == pytest.approx(2.0)


INPUTS = ["means", "quats", "scales", "opacities", "harmonics", "features", "camera_from_world", "background"]


@pytest.mark.parametrize("name", INPUTS)
def test_gradients_agree_with_finite_differences(name):
    # Large soft Gaussians, none of whose pixels is near a threshold: there the render is smooth.
    scene = random_scene(12, width=9, height=7, hard=False, seed=3).to(torch.float64)
    with torch.no_grad():
        scene.scales += 1.5
        scene.opacities.mul_(0.3).add_(0.1)
        scene.harmonics[:, 0] += 1.0
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(7 * 9 * 10, generator=generator, dtype=torch.float64)

    def loss() -> torch.Tensor:
        out = rasterize(
            *scene.gaussians,
            scene.camera(),
            colors=scene.harmonics,
            sh_degree=3,
            features=scene.features,
            depth=True,
            background=scene.background,
            backend="reference",
        )
        parts = [out.color.flatten(), out.features.flatten(), out.depth.flatten(), out.alpha.flatten()]
        return (torch.cat(parts) * weights).sum()

    parameter = getattr(scene, name)
    (gradient,) = torch.autograd.grad(loss(), parameter)
    flat = parameter.detach().view(-1)
    chosen = torch.randperm(flat.numel(), generator=generator)[:24]
    if name == "camera_from_world":
        chosen = torch.arange(12)  # the last row is not used by the projection
    numeric = []
    for i in chosen:
        step, start = 1e-6, flat[i].item()
        values = []
        for offset in (step, -step):
            flat[i] = start + offset
            values.append(loss().item())
        flat[i] = start
        numeric.append((values[0] - values[1]) / (2 * step))
    assert relative_error(gradient.reshape(-1)[chosen], torch.tensor(numeric, dtype=torch.float64)) < 1e-6


def test_basis_equals_the_real_spherical_harmonics_of_scipy():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    polar, azimuth = np.arccos(directions[:, 2]), np.arctan2(directions[:, 1], directions[:, 0])
    expected = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            m = abs(order)
            norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * factorial(degree - m) / factorial(degree + m))
            legendre = lpmv(m, degree, np.cos(polar))  # with the Condon-Shortley phase, which 3DGS keeps
            value = norm * legendre * np.exp(1j * m * azimuth)
            part = value.real if order >= 0 else value.imag
            expected.append(part * (math.sqrt(2) if order else 1.0))
    ours = basis(3, torch.tensor(directions)).numpy()
    np.testing.assert_allclose(ours, np.stack(expected, axis=1), atol=1e-12)


def test_the_gradient_of_a_clamped_alpha_leaves_geometry_alone():
    means, quats, scales, opacities, camera = one_gaussian(1.0)
    means.requires_grad_(), opacities.requires_grad_()
    alpha = rasterize(means, quats, scales, opacities, camera, backend="reference").alpha
    alpha[4, 4].backward()
    assert opacities.grad.item() == 0 and means.grad.abs().max().item() == 0
