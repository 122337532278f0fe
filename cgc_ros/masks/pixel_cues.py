"""Per-pixel cues at working resolution, and the superpixels that they cut an image into."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import watershed

from cgc_ros.masks.planes import fit_planes, plane_moments

#: Focal length assumed, in units of the image's longer side. A wrong one scales space along two axes, which keeps
#: planes plane and convex things convex: all that is asked of it here.
ASSUMED_FOCAL = 0.9
_SMOOTHING = 0.0022  # of the longer side: standard deviation of the blur before colours are compared
_GRADIENT_UNIT = 7000.0  # Lab units per longer side that count as a full edge
_BEND_LAG = 3  # pixels
_BEND_UNIT = 0.01  # relative second difference of inverse depth that counts as a full edge
_MAX_BEND = 1.5
_NOISE_CELL = 8  # pixels: side of the cells on which depth noise is measured


@dataclass(frozen=True)
class PixelCues:
    """What is measured at each pixel of the working image."""

    lab: np.ndarray  # [h, w, 3] float32, CIE L*a*b*
    gradient: np.ndarray  # [h, w] float32, 0..1, strength of the colour edge
    inverse_depth: np.ndarray | None  # [h, w] float32, 1/m, 0 = invalid; linear in pixel coordinates on any plane
    noise: float  # relative noise of inverse depth, 0 without depth
    relief: np.ndarray  # [h, w] float32, colour and depth edges together: what the watershed floods


def measure(image: np.ndarray, depth: np.ndarray | None, long_side: int) -> PixelCues:
    """Cues of an RGB image [H, W, 3] uint8 and depth [H, W] metres, shrunk until the longer side has `long_side`."""
    scale = min(1.0, long_side / max(image.shape[:2]))
    size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), max(_SMOOTHING * max(size), 0.5))
    gradient = np.minimum(_gradient(lab) * max(size) / _GRADIENT_UNIT, 1.0)
    if depth is None:
        return PixelCues(lab, gradient, None, 0.0, gradient)
    depth = cv2.resize(depth.astype(np.float32, copy=False), size, interpolation=cv2.INTER_NEAREST)
    valid = np.isfinite(depth) & (depth > 1e-3)
    inverse_depth = np.divide(1.0, depth, out=np.zeros_like(depth), where=valid)
    noise = _depth_noise(inverse_depth)
    return PixelCues(lab, gradient, inverse_depth, noise, gradient + _bend(inverse_depth, noise))


def cut_into_superpixels(cues: PixelCues, spacing: int) -> np.ndarray:
    """[h, w] int32 ids 0..n-1: basins of the relief around its lowest pixel in each cell of a grid of `spacing`."""
    height, width = cues.relief.shape
    rows, columns = max(1, height // spacing), max(1, width // spacing)
    cell_height, cell_width = height // rows, width // columns
    cells = cues.relief[: rows * cell_height, : columns * cell_width]
    cells = cells.reshape(rows, cell_height, columns, cell_width)
    lowest = cells.transpose(0, 2, 1, 3).reshape(rows, columns, -1).argmin(axis=2)
    row = np.arange(rows)[:, None] * cell_height + lowest // cell_width
    column = np.arange(columns)[None, :] * cell_width + lowest % cell_width
    markers = np.zeros((height, width), np.int32)
    markers[row, column] = np.arange(1, rows * columns + 1).reshape(rows, columns)
    return watershed(cues.relief, markers).astype(np.int32) - 1


def image_rays(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as rays (u, v, 1) of the assumed camera, [h, w] each."""
    focal = ASSUMED_FOCAL * max(shape)
    v, u = np.mgrid[: shape[0], : shape[1]]
    return (u - (shape[1] - 1) / 2) / focal, (v - (shape[0] - 1) / 2) / focal


def _gradient(lab: np.ndarray) -> np.ndarray:
    along_x = cv2.Scharr(lab, cv2.CV_32F, 1, 0, scale=1 / 32)
    along_y = cv2.Scharr(lab, cv2.CV_32F, 0, 1, scale=1 / 32)
    return np.sqrt((along_x**2 + along_y**2).sum(axis=2))


def _depth_noise(inverse_depth: np.ndarray) -> float:
    """Median residual of planes in small cells: most of an image is smooth at this scale."""
    height, width = inverse_depth.shape
    columns = -(-width // _NOISE_CELL)
    cells = (np.arange(height) // _NOISE_CELL)[:, None] * columns + (np.arange(width) // _NOISE_CELL)[None]
    moments = plane_moments(inverse_depth, *image_rays(inverse_depth.shape), cells)
    full = moments[:, 0] > 0.75 * _NOISE_CELL**2
    return float(np.median(fit_planes(moments[full]).residual)) if full.any() else 0.0


def _bend(inverse_depth: np.ndarray, noise: float) -> np.ndarray:
    """Where inverse depth is not linear (steps and creases), 0.._MAX_BEND."""
    smooth = cv2.medianBlur(inverse_depth, 5)
    bend = np.zeros_like(smooth)
    lag = _BEND_LAG
    if min(smooth.shape) <= 2 * lag:
        return bend
    middle = smooth[:, lag:-lag]
    across = np.abs(smooth[:, 2 * lag :] + smooth[:, : -2 * lag] - 2 * middle)
    bend[:, lag:-lag] = across / np.maximum(middle, 1e-6)
    middle = smooth[lag:-lag]
    down = np.abs(smooth[2 * lag :] + smooth[: -2 * lag] - 2 * middle)
    bend[lag:-lag] = np.maximum(bend[lag:-lag], down / np.maximum(middle, 1e-6))
    return np.minimum(bend / (_BEND_UNIT + 3.0 * noise), _MAX_BEND)
