"""Real spherical harmonics up to degree 3 (Sloan, "Efficient Spherical Harmonic Evaluation", 2013)."""

from __future__ import annotations

import torch
from torch import Tensor

#: Y_0, by which a plain colour c becomes the constant coefficient (c - 0.5) / SH_C0.
SH_C0 = 0.28209479177387814


def basis(degree: int, directions: Tensor) -> Tensor:
    """[N, (degree + 1)^2] values of the basis at unit `directions` [N, 3]."""
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        terms += [-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]
    if degree >= 2:
        terms += [
            1.092548430592079 * x * y,
            -1.092548430592079 * y * z,
            0.9461746957575601 * z * z - 0.3153915652525201,
            -1.092548430592079 * x * z,
            0.5462742152960395 * (x * x - y * y),
        ]
    if degree >= 3:
        terms += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(terms, dim=-1)


def colors_from_harmonics(coefficients: Tensor, degree: int, means: Tensor, camera_from_world: Tensor) -> Tensor:
    """[N, 3] colours max(0, 0.5 + sum of c_k Y_k) of Gaussians at `means` [N, 3] seen by a camera.

    Args:
        coefficients: [N, K, 3], K >= (degree + 1)^2; those of higher degrees are not used.
        camera_from_world: [4, 4].
    """
    camera_position = torch.linalg.inv(camera_from_world)[:3, 3]
    directions = torch.nn.functional.normalize(means - camera_position, dim=-1)
    weights = basis(degree, directions)
    colors = (weights[..., None] * coefficients[:, : weights.shape[-1]]).sum(1)
    return (colors + 0.5).clamp_min(0.0)
