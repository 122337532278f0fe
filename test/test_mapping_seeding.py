"""Seeding: where new Gaussians go, how many, and which way they face."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.frame import Intrinsics
from cgc_ros.mapping.config import SeedingConfig
from cgc_ros.mapping.seeding import (
    SeedDensity,
    backproject,
    detail,
    seed_density,
    seed_gaussians,
    surface_normals,
)
from cgc_ros.rendering.quaternions import rotation_matrices

INTRINSICS = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
CONFIG = SeedingConfig()


def half_textured_image() -> np.ndarray:
    image = np.full((48, 64, 3), 128, np.uint8)
    image[:, 32:] = np.random.default_rng(0).integers(0, 255, (48, 32, 1))
    return image


def test_detail_is_where_the_texture_is():
    found = detail(half_textured_image(), 1.0)
    assert found[:, :28].max() < 1e-3 * found[:, 36:].mean()


def test_density_follows_detail_and_skips_what_is_covered():
    image = half_textured_image()
    everywhere = np.ones((48, 64), dtype=bool)
    empty = seed_density(image, everywhere, None, CONFIG).missing
    assert empty[:, 40:].mean() > 3 * empty[:, :24].mean() > 0
    perfect = (image / 255.0).astype(np.float32)
    assert seed_density(image, everywhere, (perfect, everywhere), CONFIG).missing.max() < 1e-6
    assert (seed_density(image, ~everywhere, None, CONFIG).missing == 0).all()


def test_what_is_added_to_a_covered_surface_is_as_fine_as_the_image():
    """A blurred render lacks detail: few Gaussians are added, yet each as small as the image's own detail asks for."""
    image = half_textured_image()
    everywhere = np.ones((48, 64), dtype=bool)
    blurred = np.full((48, 64, 3), 0.5, np.float32)
    from_nothing = seed_density(image, everywhere, None, CONFIG)
    lacking = seed_density(image, everywhere, (blurred, everywhere), CONFIG)
    assert lacking.missing.sum() < 0.5 * from_nothing.missing.sum()
    np.testing.assert_allclose(lacking.detail, from_nothing.detail)


def test_density_never_exceeds_the_cap():
    config = SeedingConfig(max_per_keyframe=50)
    assert seed_density(
        half_textured_image(), np.ones((48, 64), dtype=bool), None, config
    ).missing.sum() == pytest.approx(50)


def slanted_plane(normal: np.ndarray, distance: float) -> np.ndarray:
    """Depth image of the plane normal . p = -distance seen from the origin."""
    rays = backproject(np.ones((48, 64), np.float32), INTRINSICS)
    return (-distance / (rays @ normal)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0.3, 5.0))
def test_normals_of_a_plane_are_the_planes(x, y, distance):
    normal = np.array([x, y, -1.0]) / np.linalg.norm([x, y, 1.0])
    points = backproject(slanted_plane(normal, distance), INTRINSICS)
    rows, columns = np.mgrid[8:40:4, 8:56:4].reshape(2, -1)
    np.testing.assert_allclose(surface_normals(points, rows, columns, 2), np.tile(normal, (len(rows), 1)), atol=0.02)


def test_seeds_lie_on_the_surface_in_the_map_frame_and_cover_it():
    depth = np.full((48, 64), 2.0, np.float32)
    pose = np.eye(4)
    pose[:3, 3] = (1.0, 2.0, 3.0)
    density = SeedDensity(np.full((48, 64), 0.25), np.full((48, 64), 0.25))
    seeds = seed_gaussians(half_textured_image(), depth, INTRINSICS, pose, density, CONFIG, np.random.default_rng(0))
    assert len(seeds) == pytest.approx(0.25 * 48 * 64, rel=0.1)
    np.testing.assert_allclose(seeds.means[:, 2], 5.0, atol=1e-5)
    # A circle of spread / sqrt(density) pixels at the distance's pixel size, stretched on edges and as large as before.
    radius = CONFIG.spread / 0.5 * 2.0 / 60.0
    area = seeds.scales[:, 0] * seeds.scales[:, 1]
    np.testing.assert_allclose(area, radius**2, rtol=1e-4)
    np.testing.assert_allclose(seeds.scales[:, 2], CONFIG.flatness * radius, rtol=1e-4)
    normals = rotation_matrices(seeds.quats)[:, :, 2]
    np.testing.assert_allclose(normals[:, 2].abs(), 1.0, atol=1e-4)


def test_nothing_to_seed_gives_nothing():
    depth = np.full((48, 64), 2.0, np.float32)
    density = SeedDensity(np.full((48, 64), 0.25), np.zeros((48, 64)))
    image = half_textured_image()
    assert len(seed_gaussians(image, depth, INTRINSICS, np.eye(4), density, CONFIG, np.random.default_rng(0))) == 0


def test_what_is_seeded_from_a_guess_is_more_transparent_than_from_a_measurement():
    image = half_textured_image()
    depth = np.full(image.shape[:2], 2.0, np.float32)
    density = SeedDensity(np.full(depth.shape, 0.1), np.full(depth.shape, 0.1))
    opacities = {}
    for confidence in (0.0, 0.5, 1.0):
        rng, sure = np.random.default_rng(0), np.full(depth.shape, confidence, np.float32)
        opacities[confidence] = seed_gaussians(
            image, depth, INTRINSICS, np.eye(4), density, CONFIG, rng, sure
        ).opacities
    assert torch.allclose(opacities[1.0], torch.tensor(CONFIG.opacity))
    assert torch.allclose(opacities[0.0], torch.tensor(CONFIG.opacity * CONFIG.unsure_opacity))
    assert (opacities[0.0] < opacities[0.5]).all() and (opacities[0.5] < opacities[1.0]).all()
