"""Shapes of new Gaussians: along edges, clear of depth's borders, and in the image what they were asked to be."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.frame import Intrinsics
from cgc_ros.mapping.config import EdgeConfig
from cgc_ros.mapping.seed_shapes import flat_gaussians, image_ellipses, lay_on_surface
from cgc_ros.rendering.quaternions import rotation_matrices

INTRINSICS = Intrinsics(64, 48, 60.0, 55.0, 30.0, 25.0)
ROWS, COLUMNS = np.array([24, 24, 24]), np.array([31, 32, 8])
FLAT = np.full((48, 64), 2.0, np.float32)


def ellipses(image, depth=FLAT, sigma=3.0):
    return image_ellipses(
        image, depth, ROWS, COLUMNS, np.full(3, sigma), max_elongation=4.0, border_share=0.5, edges=EdgeConfig()
    )


def test_on_an_edge_they_are_long_along_it_and_round_elsewhere():
    image = np.full((48, 64, 3), 60, np.uint8)
    image[:, 32:] = 200
    for turned in (False, True):
        picture = np.ascontiguousarray(image.transpose(1, 0, 2)) if turned else image
        rows, columns = (COLUMNS, ROWS) if turned else (ROWS, COLUMNS)
        depth = np.ascontiguousarray(FLAT.T) if turned else FLAT
        axes = image_ellipses(
            picture, depth, rows, columns, np.full(3, 3.0), max_elongation=4.0, border_share=0.5, edges=EdgeConfig()
        )
        lengths = np.linalg.norm(axes, axis=2)
        np.testing.assert_allclose(lengths.prod(axis=1), 9.0, rtol=1e-5)
        np.testing.assert_allclose(lengths[:2], [[1.5, 6.0]] * 2, rtol=1e-3)
        np.testing.assert_allclose(lengths[2], 3.0, rtol=1e-5)
        along = np.abs(axes[:2, 1, 0 if turned else 1])
        np.testing.assert_allclose(along, 6.0, rtol=1e-3)


def test_beside_a_step_of_depth_they_are_small():
    depth = FLAT.copy()
    depth[:, 32:] = 3.0
    areas = np.linalg.norm(ellipses(np.full((48, 64, 3), 90, np.uint8), depth), axis=2).prod(axis=1)
    np.testing.assert_allclose(areas, [0.7**2, 0.7**2, 9.0], rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.floats(0.3, 8.0), st.floats(0.0, np.pi), st.floats(1.0, 4.0))
def test_on_a_surface_that_slants_they_look_as_asked(x, y, distance, angle, elongation):
    """Tiny half axes, laid on a plane and projected again, are what they were."""
    normal = np.array([[x, y, -1.0]]) / np.linalg.norm([x, y, 1.0])
    across = 1e-3 * np.array([np.cos(angle), np.sin(angle)])
    axes = np.stack([across, elongation * np.array([-across[1], across[0]])])[None]
    point = distance * np.array([[(40.0 - INTRINSICS.cx) / INTRINSICS.fx, (20.0 - INTRINSICS.cy) / INTRINSICS.fy, 1.0]])
    laid = lay_on_surface(axes, point, normal, INTRINSICS, least_cosine=0.01)
    np.testing.assert_allclose(laid @ normal[0], 0.0, atol=1e-9 * distance)
    moved = point + laid[0]
    pixels = moved[:, :2] / moved[:, 2:] * [INTRINSICS.fx, INTRINSICS.fy] + [INTRINSICS.cx, INTRINSICS.cy]
    np.testing.assert_allclose(pixels - [40.0, 20.0], axes[0], atol=2e-5)


def test_the_stretch_of_a_surface_seen_at_a_grazing_angle_is_bounded():
    normal = np.array([[0.0, -1.0, -0.01]]) / np.linalg.norm([1.0, 0.01])
    laid = lay_on_surface(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[0.0, 0.0, 2.0]]), normal, INTRINSICS, 0.5)
    assert np.linalg.norm(laid[0, 1]) < 2.0 / INTRINSICS.fy * np.hypot(1.0, 1.0 / 0.5) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_gaussians_have_the_covariance_of_their_axes(values):
    axes = np.array(values).reshape(1, 2, 3) + [[[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]
    if np.linalg.norm(np.cross(axes[0, 0], axes[0, 1])) < 1e-2:
        return
    quats, scales = flat_gaussians(axes, 0.25)
    rotation = rotation_matrices(torch.from_numpy(quats))[0].numpy()
    in_plane = np.diag([*scales[0, :2] ** 2, 0.0])
    np.testing.assert_allclose(rotation @ in_plane @ rotation.T, axes[0].T @ axes[0], atol=1e-8)
    assert 0 < scales[0, 2] <= scales[0, 1] <= scales[0, 0]
