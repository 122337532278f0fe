"""The camera both rasterisers take: pixel centres at +0.5, as in gsplat."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import Intrinsics

#: Pixels^2 by which 3D Gaussian Splatting (and gsplat's `eps2d`) widens what it draws, at an image's own size.
EPS2D = 0.3


@dataclass(frozen=True)
class Camera:
    """A pinhole view. `camera_from_world` may require gradients (pose refinement)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float  # pixels, centre of the first pixel at (0.5, 0.5)
    cy: float
    camera_from_world: Tensor  # [4, 4] float32, OpenCV optical frame
    eps2d: float = EPS2D  # pixels^2, added to every Gaussian's covariance in the image

    @staticmethod
    def from_intrinsics(
        intrinsics: Intrinsics, world_from_camera: np.ndarray, device: str | torch.device = "cpu"
    ) -> Camera:
        """A camera from OpenCV/ROS intrinsics (first pixel's centre at (0, 0)) and a [4, 4] pose, camera to world."""
        camera_from_world = np.linalg.inv(np.asarray(world_from_camera, dtype=np.float64))
        return Camera(
            intrinsics.width,
            intrinsics.height,
            intrinsics.fx,
            intrinsics.fy,
            intrinsics.cx + 0.5,
            intrinsics.cy + 0.5,
            torch.as_tensor(camera_from_world, dtype=torch.float32, device=device),
        )

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same view sampled on a grid of another size.

        In a smaller image Gaussians are as wide as if the larger one had been drawn and averaged over areas: its
        `eps2d`, and the variance of such an average. With all of `eps2d` at half size, training would make them too
        thin.
        """
        sx, sy = width / self.width, height / self.height
        shrunk = min(sx * sy, 1.0)
        eps2d = self.eps2d * shrunk + (1 - shrunk) / 12
        return Camera(
            width, height, self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, self.camera_from_world, eps2d
        )

    def to(self, device: str | torch.device) -> Camera:
        """The same view with its pose on another device."""
        return replace(self, camera_from_world=self.camera_from_world.to(device))
