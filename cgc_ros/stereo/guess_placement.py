"""Guessed depth out of the other cameras' way.

Plain surfaces far behind everything, a wall or a backdrop, have no depth of their own and are guessed as far as what is
beside them. Between known depths a guess is good, far from any it is not. With cameras all round, a backdrop that is
put too near stands before the scene for the cameras on the other side, and where that is plain, too, nothing fades it.
Where the cameras stand is free, and what lies beyond all of them is before none.
"""

from __future__ import annotations

import cv2
import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import FillingConfig

_MOST = 0.9  # of the cameras stand within the ball


def beyond_cameras(
    guess: np.ndarray,  # [H, W] along z, in the unit of the poses, 0 = no guess but known
    intrinsics: Intrinsics,
    world_from_camera: np.ndarray,  # [4, 4]
    centres: np.ndarray,  # [K, 3] of all cameras
    config: FillingConfig | None = None,
) -> np.ndarray:
    """The guesses, [H, W], those that are far from known pixels at least where the line of sight leaves the ball in
    which the cameras stand.

    Cameras that look away from each other, or all one way, hardly move any: their scene is outside of the ball.
    """
    config = config or FillingConfig()
    guessed = guess > 0
    to_known = cv2.distanceTransform(guessed.astype(np.uint8), cv2.DIST_L2, 3)
    rows, columns = np.nonzero(guessed & (to_known > config.far_from_known * guess.shape[1]))
    middle = centres.mean(axis=0)
    radius = config.beyond * float(np.quantile(np.linalg.norm(centres - middle, axis=1), _MOST))
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    rays = np.stack([x, y, np.ones(len(rows))], axis=1) @ world_from_camera[:3, :3].T
    offset = world_from_camera[:3, 3] - middle
    # |offset + depth * ray| = radius: a depth^2 + 2 b depth + c = 0
    a, b, c = (rays**2).sum(axis=1), rays @ offset, float(offset @ offset) - radius**2
    leaves = (np.sqrt(np.maximum(b * b - a * c, 0.0)) - b) / a
    moved = guess.copy()
    moved[rows, columns] = np.where(b * b > a * c, np.maximum(guess[rows, columns], leaves), guess[rows, columns])
    return moved
