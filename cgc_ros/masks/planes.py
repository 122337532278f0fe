"""Planes of regions from sums over their pixels.

On a plane n.X = 1 (X in the camera's frame) inverse depth is linear in the pixel's ray: 1/z = n_u u + n_v v + n_w.
Sums of products of (1, u, v, 1/z) therefore give the least-squares plane of a region and of any union of regions.
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
    squares: np.ndarray  # [n] sum of squares of what the plane leaves of inverse depth

    count: np.ndarray  # [n] valid pixels

    @property
    def residual(self) -> np.ndarray:
        """Root mean square of what the plane leaves of inverse depth, relative to the mean, [n]."""
        return np.sqrt(self.squares / np.maximum(self.count, 1.0)) / np.maximum(self.mean, 1e-6)


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
    return Planes(normal, d, np.stack([u, v], axis=1), variance * n, moments[:, 0])


def residual_under(moments: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """How badly planes [n, 3] explain the regions of moments [n, 10]: root mean square of inverse depth, relative,
    [n].
    """
    a, b, c = normal.T
    one, u, v, uu, uv, vv, d, ud, vd, dd = moments.T
    squares = (
        dd + a * a * uu + b * b * vv + c * c * one + 2 * (a * b * uv + a * c * u + b * c * v - a * ud - b * vd - c * d)
    )
    n = np.maximum(one, 1.0)
    return np.sqrt(np.maximum(squares / n, 0.0)) / np.maximum(d / n, 1e-6)


def creases(moments: np.ndarray, area: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How the planes of two neighbouring regions meet, [e], a sine-like figure between -2 and 2.

    Positive where the two surfaces form a valley (concave), negative on a ridge (convex), 0 where they continue each
    other, and where either has too little depth.
    """
    planes = fit_planes(moments)
    first, second = pairs.T
    centers = np.concatenate([planes.center, np.ones((len(moments), 1))], axis=1)
    centers /= np.maximum(planes.mean, 1e-6)[:, None]
    across = _unit(centers[second] - centers[first])
    normals = _unit(planes.normal)  # pointing away from the camera
    crease = ((normals[second] - normals[first]) * across).sum(axis=1)
    known = moments[:, 0] >= np.maximum(0.5 * area, 8)
    return np.where(known[first] & known[second], crease, 0.0)


def departure(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far two regions' surfaces are from one common plane, [e], for moments [e, 10] of either.

    Root mean square of inverse depth per pixel of the smaller region, relative; 0 where either has no depth.
    """
    squares = [fit_planes(m).squares for m in (first + second, first, second)]
    smaller = np.minimum(first[:, 0], second[:, 0])
    mean = (first[:, 6] + second[:, 6]) / np.maximum(first[:, 0] + second[:, 0], 1.0)
    excess = np.maximum(squares[0] - squares[1] - squares[2], 0.0) / np.maximum(smaller, 1.0)
    return np.where(smaller > 0, np.sqrt(excess) / np.maximum(mean, 1e-6), 0.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
