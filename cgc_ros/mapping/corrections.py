"""What is learnt per keyframe beside the map: its exposure and a small correction of its pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.optimizer import adam_step
from cgc_ros.mapping.config import TrainingConfig
from cgc_ros.rendering import Camera


class KeyframeCorrections:
    """Gain and offset per colour channel and a twist of the camera, moved by Adam and pulled towards none."""

    def __init__(self, config: TrainingConfig):
        self.log_gain = torch.zeros(3, requires_grad=True)
        self.offset = torch.zeros(3, requires_grad=True)
        self.twist = torch.zeros(6, requires_grad=config.pose_rate > 0)  # rotation (rad), translation / scene depth
        self.config = config
        self.steps = [_AdamStep(value, config.exposure_rate) for value in (self.log_gain, self.offset)]
        if config.pose_rate > 0:
            self.steps.append(_AdamStep(self.twist, config.pose_rate))

    def values(self) -> np.ndarray:
        """What was learnt, [12] float32: log gain, offset, twist."""
        return torch.cat([self.log_gain, self.offset, self.twist]).detach().numpy()

    @torch.no_grad()
    def set_values(self, values: np.ndarray) -> None:
        """Go on from what `values` gave; ValueError where it is garbled."""
        if values.shape != (12,) or not np.isfinite(values).all():
            raise ValueError(f"corrections have shape {values.shape}, wanted 12 finite numbers")
        parts = torch.from_numpy(values.astype(np.float32)).split([3, 3, 6])
        for value, part in zip((self.log_gain, self.offset, self.twist), parts, strict=True):
            value.copy_(part)

    def place(self, camera: Camera, scene_depth: float) -> Camera:
        """The camera at its corrected pose."""
        if not self.twist.requires_grad:
            return camera
        scale = torch.tensor([1.0, 1.0, 1.0, scene_depth, scene_depth, scene_depth])
        correction = se3_exp(self.twist * scale).to(camera.camera_from_world.device)
        return replace(camera, camera_from_world=correction @ camera.camera_from_world)

    def step(self) -> None:
        """Apply the gradients of the last backward pass.

        Exposure costs about as much as it is large, not its square: what a view's own light or a map that is not done
        yet would ask for stays none, and a camera that did change its exposure is followed all the way.
        """
        with torch.no_grad():
            for value in (self.log_gain, self.offset):
                if value.grad is not None:
                    value.grad += self.config.exposure_cost * value / (value.abs() + self.config.exposure_knee)
        for step in self.steps:
            step()
        with torch.no_grad():
            for value in (self.log_gain, self.offset, self.twist):
                value.mul_(1 - self.config.correction_pull)


class _AdamStep:
    """Adam on one small tensor. Making torch.optim's loads torch's compiler, which takes seconds: too long for the
    first frame of a stream.
    """

    BETAS, EPSILON = (0.9, 0.99), 1e-8

    def __init__(self, value: Tensor, rate: float):
        self.value, self.rate, self.count = value, rate, 0
        self.mean, self.square = torch.zeros_like(value), torch.zeros_like(value)

    @torch.no_grad()
    def __call__(self) -> None:
        """Move the value by its gradient, and drop that; nothing where there is none."""
        gradient = self.value.grad
        if gradient is None:
            return
        self.count += 1
        step = adam_step(self.mean, self.square, gradient, self.BETAS, self.EPSILON, count=self.count)
        self.value -= self.rate * step
        self.value.grad = None


def se3_exp(twist: Tensor) -> Tensor:
    """Rigid transform [4, 4] of a twist [6] (rotation vector, translation applied after it)."""
    x, y, z = twist[0], twist[1], twist[2]
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    top = torch.cat([torch.linalg.matrix_exp(skew), twist[3:, None]], dim=1)
    return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=twist.dtype)])
