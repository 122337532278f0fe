"""Shapes of new Gaussians: ellipses in the image, long along its edges and clear of depth's, laid onto the surface.

A Gaussian that is round in space is a thin ellipse in the image where the surface slants, and one that is round in the
image blurs the edges it lies on. Training mends both, but slowly.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.frame import Intrinsics
from cgc_ros.mapping.config import EdgeConfig


def image_ellipses(
    image: np.ndarray,  # [H, W, 3] uint8
    depth: np.ndarray,  # [H, W] metres
    rows: np.ndarray,  # [M] pixels
    columns: np.ndarray,  # [M]
    sigma: np.ndarray,  # [M] pixels, standard deviation of a round one
    *,
    max_elongation: float,
    border_share: float,
    edges: EdgeConfig,
) -> np.ndarray:
    """Half axes [M, 2, 2] (pixels; across the image's edges, then along them; x and y) of ellipses at some pixels.

    Their area is that of a circle of `sigma`, which is at most `border_share` of the distance to the next step of
    depth. How long they are follows from the structure tensor: variation along an edge over that across it.
    """
    to_border = _border_distance(depth, edges.depth_step)[rows, columns]
    sigma = np.minimum(sigma, np.maximum(edges.least_sigma, border_share * to_border))
    sharp = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    grey = cv2.GaussianBlur(sharp, (0, 0), edges.gradient_sigma)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    xx, xy, yy = (
        cv2.GaussianBlur(each, (0, 0), edges.direction_sigma)[rows, columns] for each in (x * x, x * y, y * y)
    )
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    stretch = np.clip(
        ((mean + spread + edges.plain) / (mean - spread + edges.plain)) ** 0.25, 1.0, np.sqrt(max_elongation)
    )
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    gradient = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    edge = np.stack([-gradient[:, 1], gradient[:, 0]], axis=1)
    return np.stack([(sigma / stretch)[:, None] * gradient, (sigma * stretch)[:, None] * edge], axis=1)


def lay_on_surface(
    axes: np.ndarray,  # [M, 2, 2] pixels, as from `image_ellipses`
    points: np.ndarray,  # [M, 3] metres, optical frame
    normals: np.ndarray,  # [M, 3] unit, towards the camera
    intrinsics: Intrinsics,
    least_cosine: float,
) -> np.ndarray:
    """The same half axes [M, 2, 3], metres, on the surface through `points`.

    A surface that turns away more than `least_cosine` (of the angle between its normal and the line of sight) is
    stretched as if it turned away by that much: its normal is not to be relied on.
    """
    rays = points / points[:, 2:]
    facing = (normals * rays).sum(axis=1) / np.linalg.norm(rays, axis=1)
    across_ray = np.minimum(facing, -least_cosine) * np.linalg.norm(rays, axis=1)
    steps = np.concatenate([axes / [intrinsics.fx, intrinsics.fy], np.zeros((len(axes), 2, 1))], axis=2)
    deeper = -np.einsum("mkj,mj->mk", steps, normals) / across_ray[:, None]
    return points[:, None, 2:] * (steps + deeper[:, :, None] * rays[:, None])


def flat_gaussians(axes: np.ndarray, flatness: float) -> tuple[np.ndarray, np.ndarray]:
    """Quaternions [M, 4] (w x y z) and standard deviations [M, 3] of Gaussians with two half axes [M, 2, 3] each.

    They are as thick as `flatness` times the geometric mean of the two, but no thicker than the shorter one.
    """
    _, lengths, directions = np.linalg.svd(axes.astype(np.float64), full_matrices=False)
    normal = np.cross(directions[:, 0], directions[:, 1])
    turned = np.concatenate([directions, normal[:, None]], axis=1).transpose(0, 2, 1)
    thickness = np.minimum(flatness * np.sqrt(lengths.prod(axis=1)), lengths[:, 1])
    quats = Rotation.from_matrix(turned).as_quat()[:, [3, 0, 1, 2]]
    return quats, np.concatenate([lengths, thickness[:, None]], axis=1)


def _border_distance(depth: np.ndarray, step: float) -> np.ndarray:
    """Distance [H, W] of every pixel to the next relative `step` of depth, pixels."""
    window = np.ones((3, 3), np.uint8)
    nearest, farthest = cv2.erode(depth, window), cv2.dilate(depth, window)
    smooth = farthest - nearest <= step * nearest
    return cv2.distanceTransform(smooth.astype(np.uint8), cv2.DIST_L2, 3)
