"""Planes of regions from sums over their pixels.

On a plane n.X = 1 (X in the camera's frame) inverse depth is linear in the pixel's ray: 1/z = n_u u + n_v v + n_w. Sums of products
of (1, u, v, 1/z) therefore give the least-squares plane of a region and of any union of regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_MOMENTS = 10  # 1, u, v, uu, uv, vv, d, ud, vd, dd with d = inverse depth, over valid pixels
_RIDGE = 1e-7  # added to the spread of u and v: keeps slopes finite on regions a pixel wide


@dataclass(frozen=True)
class Planes:
    """Least-squares planes of n regions."""

    normal: np.ndarray  # [n, 3] with 1/z = normal . (u, v, 1)
    mean: np.ndarray  # [n] mean inverse depth
    center: np.ndarray  # [n, 2] mean u, v
    residual: np.ndarray  # [n] root mean square of what the plane leaves of inverse depth, relative to the mean


def plane_moments(inverse_depth: np.ndarray, u: np.ndarray, v: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, 10] moments of each label 0..n-1; pixels of inverse depth 0 do not count."""
    valid = (inverse_depth > 0).ravel()
    flat, count = labels.ravel()[valid], int(labels.max()) + 1
    d, u, v = (values.ravel()[valid].astype(np.float64) for values in (inverse_depth, u, v))
    terms = (np.ones_like(d), u, v, u * u, u * v, v * v, d, u * d, v * d, d * d)
    return np.stack([np.bincount(flat, weights=term, minlength=count) for term in terms], axis=1)


def fit_planes(moments: np.ndarray) -> Planes:
    """The plane of each row of moments [n, 10]; zeros where there was no depth."""
    n = np.maximum(moments[:, 0], 1.0)
    u, v, uu, uv, vv, d, ud, vd, dd = (moments[:, column] / n for column in range(1, NUM_MOMENTS))
    var_u, cov_uv, var_v = uu - u * u + _RIDGE, uv - u * v, vv - v * v + _RIDGE
    cov_ud, cov_vd = ud - u * d, vd - v * d
    determinant = var_u * var_v - cov_uv**2
    slope_u = (cov_ud * var_v - cov_vd * cov_uv) / determinant
    slope_v = (cov_vd * var_u - cov_ud * cov_uv) / determinant
    variance = np.maximum(dd - d * d - slope_u * cov_ud - slope_v * cov_vd, 0.0)
    normal = np.stack([slope_u, slope_v, d - slope_u * u - slope_v * v], axis=1)
    return Planes(normal, d, np.stack([u, v], axis=1), np.sqrt(variance) / np.maximum(d, 1e-6))


def residual_under(moments: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """How badly planes [n, 3] explain the regions of moments [n, 10]: root mean square of inverse depth, relative, [n]."""
    a, b, c = normal.T
    one, u, v, uu, uv, vv, d, ud, vd, dd = moments.T
    squares = dd + a * a * uu + b * b * vv + c * c * one + 2 * (a * b * uv + a * c * u + b * c * v - a * ud - b * vd - c * d)
    n = np.maximum(one, 1.0)
    return np.sqrt(np.maximum(squares / n, 0.0)) / np.maximum(d / n, 1e-6)


def steps_and_creases(
    moments: np.ndarray, area: np.ndarray, pairs: np.ndarray, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the planes of two neighbouring regions meet at the middle [e, 2] (u, v) of their border.

    Returns the relative jump of inverse depth [e], and the crease [e]: positive where the two surfaces form a valley (concave),
    negative on a ridge (convex), 0 where they continue each other. Both 0 where either has too little depth.
    """
    planes = fit_planes(moments)
    first, second = pairs.T
    rays = np.concatenate([middle, np.ones((len(middle), 1))], axis=1)
    inverse_first = (planes.normal[first] * rays).sum(axis=1)
    inverse_second = (planes.normal[second] * rays).sum(axis=1)
    scale = np.maximum(np.maximum(planes.mean[first], planes.mean[second]), 1e-6)
    step = np.abs(inverse_first - inverse_second) / scale
    centers = np.concatenate([planes.center, np.ones((len(moments), 1))], axis=1) / np.maximum(planes.mean, 1e-6)[:, None]
    across = _unit(centers[second] - centers[first])
    normals = _unit(planes.normal)  # pointing away from the camera
    crease = ((normals[second] - normals[first]) * across).sum(axis=1)
    known = moments[:, 0] >= np.maximum(0.5 * area, 8)
    known = known[first] & known[second]
    return np.where(known, step, 0.0), np.where(known, crease, 0.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
