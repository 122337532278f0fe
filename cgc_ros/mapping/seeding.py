"""New Gaussians from a keyframe: only where the map does not explain the image, and as dense as its detail asks for."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cgc_ros.frame import Intrinsics
from cgc_ros.gaussians.model import GaussianSeeds
from cgc_ros.mapping.config import SeedingConfig
from cgc_ros.mapping.seed_shapes import flat_gaussians, image_ellipses, lay_on_surface


def detail(image: np.ndarray, sigma: float) -> np.ndarray:
    """Fine structure of an image ([H, W, 3] uint8 or 0..1 float): absolute Laplacian of the grey image blurred by
    `sigma` (pixels), [H, W].
    """
    grey = cv2.cvtColor(image.astype(np.float32) / (255.0 if image.dtype == np.uint8 else 1.0), cv2.COLOR_RGB2GRAY)
    return np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), sigma), cv2.CV_32F))


@dataclass(frozen=True)
class SeedDensity:
    """How many Gaussians a view asks for, per pixel."""

    detail: np.ndarray  # [H, W] all that the image's detail asks for; sets the size of a Gaussian
    missing: np.ndarray  # [H, W] the part of it that is to be added


def seed_density(
    image: np.ndarray,  # [H, W, 3] uint8
    usable: np.ndarray,  # [H, W] bool: pixels with a depth to seed at
    rendered: tuple[np.ndarray, np.ndarray] | None,  # colour [H, W, 3] 0..1 and covered [H, W] bool of the map's view
    config: SeedingConfig,
) -> SeedDensity:
    """The image's detail where nothing is mapped, a share of the detail the render lacks elsewhere.

    The use of the Laplacian as a sampling probability follows Meuleman et al., On-the-fly Reconstruction for
    Large-Scale Novel View Synthesis from Unposed Images (2025), section 4.
    """
    # Densities are those for an image of 640 pixels' width; a smaller image of the same scene needs more per pixel.
    finer = float(np.clip((640 / image.shape[1]) ** 2, 0.25, 6.0))

    def density(picture: np.ndarray) -> np.ndarray:
        asked = config.min_density + config.detail_gain * detail(picture, config.detail_sigma)
        return finer * np.clip(asked, config.min_density, config.max_density)

    wanted = density(image)
    missing = wanted
    if rendered is not None:
        color, covered = rendered
        missing = np.where(covered, config.refine_share * np.clip(wanted - density(color), 0.0, None), wanted)
    missing = np.where(usable, missing, 0.0)
    scale = min(1.0, config.max_per_keyframe / max(missing.sum(), 1e-9))
    return SeedDensity(wanted * scale, missing * scale)


def backproject(depth: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Points [H, W, 3] in the optical frame, metres, of a depth image [H, W]."""
    u, v = np.meshgrid(np.arange(intrinsics.width, dtype=np.float32), np.arange(intrinsics.height, dtype=np.float32))
    return np.stack(
        [(u - intrinsics.cx) / intrinsics.fx * depth, (v - intrinsics.cy) / intrinsics.fy * depth, depth], axis=-1
    )


def surface_normals(points: np.ndarray, rows: np.ndarray, columns: np.ndarray, step: int) -> np.ndarray:
    """Unit normals [M, 3] towards the camera at M pixels of back-projected points [H, W, 3], smoothed over 5x5
    pixels, by their slope over `step` pixels to either side.
    """
    smooth = cv2.blur(points, (5, 5))
    height, width = points.shape[:2]
    right, left = np.minimum(columns + step, width - 1), np.maximum(columns - step, 0)
    below, above = np.minimum(rows + step, height - 1), np.maximum(rows - step, 0)
    normals = np.cross(smooth[rows, right] - smooth[rows, left], smooth[below, columns] - smooth[above, columns])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    away = (normals * points[rows, columns]).sum(axis=1, keepdims=True) > 0
    return np.where(away, -normals, normals)


def seed_gaussians(
    image: np.ndarray,  # [H, W, 3] uint8
    depth: np.ndarray,  # [H, W] float32 metres, 0 = invalid
    intrinsics: Intrinsics,
    world_from_camera: np.ndarray,  # [4, 4]
    density: SeedDensity,
    config: SeedingConfig,
    rng: np.random.Generator,
    confidence: np.ndarray | None = None,  # [H, W] 0..1 of the depth; None: certain
) -> GaussianSeeds:
    """Flat Gaussians on the surface, one per drawn pixel, as wide in the image as the gap to their neighbours.

    The less certain the depth, the more transparent: training makes opaque what other views bear out.
    """
    rows, columns = np.nonzero(rng.random(density.missing.shape) < density.missing)
    points = backproject(depth, intrinsics)
    normals = surface_normals(points, rows, columns, config.normal_step)
    chosen = points[rows, columns]
    # Random points of density p per pixel lie 1 / (2 sqrt(p)) from their nearest neighbour; to cover the gaps between
    # them a standard deviation of `spread` / sqrt(p) is needed.
    sigma = np.minimum(config.spread / np.sqrt(density.detail[rows, columns]), config.max_radius)
    ellipses = image_ellipses(
        image,
        depth,
        rows,
        columns,
        sigma,
        max_elongation=config.elongation,
        border_share=config.border_share,
        edges=config.edges,
    )
    opacity = np.full(len(rows), config.opacity)
    if confidence is not None:
        opacity *= config.unsure_opacity + (1.0 - config.unsure_opacity) * confidence[rows, columns]
    rotation = world_from_camera[:3, :3]
    laid = lay_on_surface(ellipses, chosen, normals, intrinsics, config.least_cosine)
    quats, scales = flat_gaussians(laid @ rotation.T, config.flatness)
    return GaussianSeeds(
        means=_tensor(chosen @ rotation.T + world_from_camera[:3, 3]),
        quats=_tensor(quats),
        scales=_tensor(scales),
        opacities=_tensor(opacity),
        colors=_tensor(image[rows, columns] / 255.0),
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
