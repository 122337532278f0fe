"""What is learnt per keyframe beside the map: its exposure and a small correction of its pose."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cgc_ros.mapping.config import TrainingConfig
from cgc_ros.rendering import Camera

PULL = 1e-3  # share of every correction that is taken back per step, so that the map as a whole cannot drift


class KeyframeCorrections:
    """Gain and offset per colour channel and a twist of the camera, moved by Adam and pulled towards none."""

    def __init__(self, config: TrainingConfig):
        self.log_gain = torch.zeros(3, requires_grad=True)
        self.offset = torch.zeros(3, requires_grad=True)
        self.twist = torch.zeros(6, requires_grad=config.pose_rate > 0)  # rotation (rad), translation / scene depth
        groups = [{"params": [self.log_gain, self.offset], "lr": config.exposure_rate}]
        if config.pose_rate > 0:
            groups.append({"params": [self.twist], "lr": config.pose_rate})
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def expose(self, color: Tensor) -> Tensor:
        """The map's colour [H, W, 3] as this keyframe's camera would have taken it."""
        return color * self.log_gain.exp().to(color.device) + self.offset.to(color.device)

    def place(self, camera: Camera, scene_depth: float) -> Camera:
        """The camera at its corrected pose."""
        if not self.twist.requires_grad:
            return camera
        scale = torch.tensor([1.0, 1.0, 1.0, scene_depth, scene_depth, scene_depth])
        correction = se3_exp(self.twist * scale).to(camera.camera_from_world.device)
        return replace(camera, camera_from_world=correction @ camera.camera_from_world)

    def step(self) -> None:
        """Apply the gradients of the last backward pass."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for value in (self.log_gain, self.offset, self.twist):
                value.mul_(1 - PULL)


def se3_exp(twist: Tensor) -> Tensor:
    """Rigid transform [4, 4] of a twist [6] (rotation vector, translation applied after it)."""
    x, y, z = twist[0], twist[1], twist[2]
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    top = torch.cat([torch.linalg.matrix_exp(skew), twist[3:, None]], dim=1)
    return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=twist.dtype)])
