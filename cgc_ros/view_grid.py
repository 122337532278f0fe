"""The pixels of a distorted camera and the pinhole view that sees them all, so that a label image lies on its input
image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from cgc_ros.frame import FrameError, Intrinsics
from cgc_ros.image_size import nearest_resized, within_width
from cgc_ros.undistortion import check_distortion, distortion_coefficients

_MAX_SLOPE = 2.5  # rays farther from the axis (68 degrees) are left out: a pinhole view of them would be mostly corners
_MAX_SIDE_RATIO = 1.6  # of the pinhole view's sides to the camera's; beyond it the view's resolution falls instead


class ViewGrid:
    """Renders are made with `intrinsics`, a pinhole view; `to_image` brings them to the camera's own pixels.

    Undistorter goes the other way and crops to what the whole pinhole view can see; this one covers what the camera
    sees. `max_width`: of the pinhole view, pixels; 0: no bound. FrameError where the camera sees nothing.
    """

    def __init__(self, camera: Intrinsics, max_width: int = 0):
        self.camera = camera
        self._is_pinhole = check_distortion(camera) == "none"
        self.intrinsics = within_width(replace(camera, distortion_model="none", distortion=()), max_width)
        if self._is_pinhole:
            return
        slopes = self._slopes()
        self._is_seen = (np.abs(slopes) <= _MAX_SLOPE).all(axis=-1)  # False where NaN
        if not self._is_seen.any():
            raise FrameError(
                "bad_distortion",
                f"with the distortion {list(camera.distortion)} no ray reaches any pixel: calibrate the camera again",
            )
        self.intrinsics = within_width(_covering(camera, slopes[self._is_seen]), max_width)
        pixels = slopes * (self.intrinsics.fx, self.intrinsics.fy) + (self.intrinsics.cx, self.intrinsics.cy)
        limit = (self.intrinsics.width - 1, self.intrinsics.height - 1)
        column, row = np.moveaxis(
            np.clip(np.rint(np.where(self._is_seen[..., None], pixels, 0.0)), 0, limit).astype(np.int64), -1, 0
        )
        self._source = row * self.intrinsics.width + column  # [H, W] flat index into the pinhole view

    def to_image(self, view: np.ndarray, outside) -> np.ndarray:
        """A render [h, w] or [h, w, C] of the pinhole view on the camera's pixels [H, W], nearest; `outside` where it
        sees nothing.
        """
        if self._is_pinhole:
            size = (self.camera.width, self.camera.height)
            return view if size == view.shape[1::-1] else nearest_resized(view, *size)
        image = view.reshape(-1, *view.shape[2:])[self._source]
        image[~self._is_seen] = outside
        return image

    def _slopes(self) -> np.ndarray:
        """x / z and y / z of every pixel's ray, [H, W, 2]; NaN where no ray reaches the pixel (a polynomial folded
        back).
        """
        camera = self.camera
        rows, columns = np.mgrid[: camera.height, : camera.width]
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)[:, None]
        coefficients = distortion_coefficients(camera)
        if check_distortion(camera) == "equidistant":
            project: Callable = cv2.fisheye.projectPoints
            slopes = cv2.fisheye.undistortPoints(pixels, camera.matrix(), coefficients)
        else:
            undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # OpenCV 4's name, then OpenCV 5's
            precise = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-6)
            project = cv2.projectPoints
            slopes = undistort(pixels, camera.matrix(), coefficients, R=np.eye(3), P=np.eye(3), criteria=precise)
        rays = np.concatenate([slopes, np.ones((len(slopes), 1, 1))], axis=2)
        back = project(rays, np.zeros(3), np.zeros(3), camera.matrix(), coefficients)[0].reshape(pixels.shape)
        slopes[~(np.abs(back - pixels).max(axis=2) < 0.5)] = np.nan
        return slopes.reshape(camera.height, camera.width, 2)


def _covering(camera: Intrinsics, slopes: np.ndarray) -> Intrinsics:
    """The pinhole view that holds all these rays [P, 2], at the camera's focal length while that fits."""
    low, high = slopes.min(axis=0), slopes.max(axis=0)
    width, height = (high - low) * (camera.fx, camera.fy) + 1.0
    shrink = min(1.0, _MAX_SIDE_RATIO * camera.width / width, _MAX_SIDE_RATIO * camera.height / height)
    fx, fy = camera.fx * shrink, camera.fy * shrink
    return Intrinsics(
        int(np.ceil(width * shrink)),
        int(np.ceil(height * shrink)),
        float(fx),
        float(fy),
        float(-low[0] * fx),
        float(-low[1] * fy),
    )


@lru_cache(maxsize=4)
def grid_for(camera: Intrinsics, max_width: int = 0) -> ViewGrid:
    """The grid of a calibration, computed once and kept for the last 4."""
    return ViewGrid(camera, max_width)
