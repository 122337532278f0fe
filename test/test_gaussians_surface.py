"""Point clouds of Gaussians lie on their discs, evenly, within the limit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.gaussians.surface import surface_points
from cgc_ros.rendering.quaternions import rotation_matrices


def test_points_fill_the_disc_in_its_plane():
    """A Gaussian flat along its own z axis, turned onto the map's x axis: all points have the mean's x."""
    half = 0.5**0.5
    points, source = surface_points(
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[half, 0.0, half, 0.0]]),
        torch.tensor([[0.02, 0.03, 0.001]]),
        0.006,
        1000,
    )
    expected = 3.14159 * 0.02 * 0.03 / 0.006**2
    assert len(points) == pytest.approx(expected, abs=1) and (source == 0).all()
    offsets = points - torch.tensor([1.0, 2.0, 3.0])
    assert offsets[:, 0].abs().max() < 1e-6
    radii = (offsets[:, 2] / 0.02) ** 2 + (offsets[:, 1] / 0.03) ** 2
    assert radii.max() <= 1.0 + 1e-5
    nearest = torch.cdist(points, points).fill_diagonal_(1.0).min(dim=1).values
    assert nearest.min() > 0.002 and nearest.max() < 0.008


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 500))
def test_limit_holds_and_is_shared_evenly(count, limit):
    generator = torch.Generator().manual_seed(count)
    means = torch.rand(count, 3, generator=generator)
    points, source = surface_points(
        means, torch.randn(count, 4, generator=generator), torch.full((count, 3), 0.01), 0.004, limit
    )
    assert 0 < len(points) <= limit
    shares = torch.bincount(source, minlength=count)
    assert shares.max() - shares.min() <= 1


def test_a_tiny_gaussian_is_its_mean():
    points, _ = surface_points(
        torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 1e-5), 0.01, 10
    )
    torch.testing.assert_close(points, torch.tensor([[0.1, 0.2, 0.3]]))


def test_rotations_are_those_of_unit_quaternions():
    rotations = rotation_matrices(torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        rotations @ rotations.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    )
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(50, dtype=torch.float64))
    quarter = rotation_matrices(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))[0]  # 90 degrees about z turns x onto y
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1.0, 0]), atol=1e-6, rtol=0)
