"""Depth for pixels that have none, guessed from their surroundings along the image's own regions.

Plain surfaces, which stereo and many depth cameras leave out, need Gaussians to be trained at all. Inverse depth is
spread from the pixels that know it so that it changes where the colour does, as Levin, Lischinski and Weiss spread
colour over grey images (Colorization using Optimization, 2004): a door takes the depth of its frame, not that of the
cup before it.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from cgc_ros.stereo.config import FillingConfig


def filled(depth: np.ndarray, image: np.ndarray, config: FillingConfig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A depth image without holes, [H, W] float32, and where it was guessed, [H, W] bool.

    Args:
        depth: [H, W] float32 metres, 0 = unknown, known somewhere.
        image: [H, W, 3] uint8, of the same view.
    """
    config = config or FillingConfig()
    guessed = depth <= 0
    if not guessed.any():
        return depth, guessed
    height, width = depth.shape
    size = (min(config.working_width, width), max(2, round(height * min(1.0, config.working_width / width))))
    side = max(3, round(config.border * width / 640)) | 1
    far = np.where(guessed, 0.0, cv2.dilate(depth, np.ones((side, side), np.uint8)))
    inverse = np.divide(1.0, far, out=np.zeros_like(depth), where=far > 0)
    share = cv2.resize((~guessed).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    inverse = cv2.resize(inverse.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    share[share < min(config.min_known, share.max())] = 0.0
    known = np.divide(inverse, share, out=np.zeros_like(inverse), where=share > 0)
    color = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    spread = _spread(known, share, color, config)
    guess = 1.0 / cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(guessed, guess, depth).astype(np.float32), guessed


def _spread(known: np.ndarray, weight: np.ndarray, color: np.ndarray, config: FillingConfig) -> np.ndarray:
    """The field [h, w] that is near `known` in proportion to `weight` and smooth where `color` [h, w, 3] is."""
    index = np.arange(known.size).reshape(known.shape)
    pairs = ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:]))
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    flat = color.reshape(-1, 3)
    difference = ((flat[first] - flat[second]) ** 2).sum(axis=1)
    ties = np.exp(-difference.astype(np.float64) / (2 * config.color_sigma**2)) + config.least_tie
    matrix = sparse.coo_matrix((ties, (first, second)), shape=(known.size, known.size)).tocsr()
    matrix = matrix + matrix.T
    laplacian = sparse.diags(np.asarray(matrix.sum(axis=1)).ravel() + weight.ravel()) - matrix
    factors = splu(laplacian.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    solved = factors.solve((weight * known).ravel().astype(np.float64)).reshape(known.shape)
    return solved.clip(known[weight > 0].min(), known[weight > 0].max()).astype(np.float32)
