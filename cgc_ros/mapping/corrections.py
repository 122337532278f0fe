"""What is learnt per keyframe beside the map: its exposure and a small correction of its pose.

A dozen numbers, kept and moved by numpy: PyTorch takes longer to start an operator than they take.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from cgc_ros.mapping.config import TrainingConfig
from cgc_ros.rendering import Camera

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8


class KeyframeCorrections:
    """Gain and offset per colour channel and a twist of the camera, moved by Adam and pulled towards none."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.learns_pose = config.pose_rate > 0
        self._values = np.zeros(12)  # log gain, offset, twist: rotation (rad), translation / scene depth
        self._mean, self._square, self._count = np.zeros(12), np.zeros(12), 0
        self._rates = np.repeat([config.exposure_rate, config.pose_rate], 6)

    @property
    def log_gain(self) -> np.ndarray:  # [3]
        return self._values[:3]

    @property
    def gain(self) -> np.ndarray:  # [3] factors of a render's colour
        return np.exp(self.log_gain)

    @property
    def offset(self) -> np.ndarray:  # [3] added to it after that, colours in 0..1
        return self._values[3:6]

    @property
    def twist(self) -> np.ndarray:  # [6] rotation (rad), translation / scene depth, in the camera's frame
        return self._values[6:]

    def values(self) -> np.ndarray:
        """What was learnt, [12] float32: log gain, offset, twist."""
        return self._values.astype(np.float32)

    def set_values(self, values: np.ndarray) -> None:
        """Go on from what `values` gave; ValueError where it is garbled."""
        if values.shape != (12,) or not np.isfinite(values).all():
            raise ValueError(f"corrections have shape {values.shape}, wanted 12 finite numbers")
        self._values[:] = values

    def place(self, camera: Camera, scene_depth: float) -> Camera:
        """The camera at its corrected pose, which is differentiable where it is learnt."""
        if not self.learns_pose:
            return camera
        pose = camera.camera_from_world
        correction = torch.from_numpy(se3_exp(self._twist_in_metres(scene_depth))).to(pose)
        return replace(camera, camera_from_world=(correction @ pose).requires_grad_())

    def step(
        self,
        of_gain: np.ndarray,  # [3] gradient by `gain`
        of_offset: np.ndarray,  # [3]
        of_pose: np.ndarray | None = None,  # [4, 4] by the corrected pose
        given_pose: np.ndarray | None = None,  # [4, 4] camera_from_world that was corrected
        scene_depth: float = 1.0,  # metres
    ) -> None:
        """Take gradients; that of a pose where poses are learnt.

        Exposure costs about as much as it is large, not its square: what a view's own light or a map that is not done
        yet would ask for stays none, and a camera that did change its exposure is followed all the way.
        """
        config, exposure = self.config, self._values[:6]
        gradient = np.zeros(12)
        gradient[:3], gradient[3:6] = of_gain * self.gain, of_offset
        gradient[:6] += config.exposure_cost * exposure / (np.abs(exposure) + config.exposure_knee)
        if self.learns_pose and of_pose is not None and given_pose is not None:
            of_twist = se3_exp_gradient(self._twist_in_metres(scene_depth), of_pose @ given_pose.T)
            gradient[6:] = of_twist * [1.0, 1.0, 1.0, scene_depth, scene_depth, scene_depth]
        self._count += 1
        self._mean += (1 - BETA1) * (gradient - self._mean)
        self._square += (1 - BETA2) * (gradient**2 - self._square)
        mean, square = self._mean / (1 - BETA1**self._count), self._square / (1 - BETA2**self._count)
        self._values -= self._rates * mean / (np.sqrt(square) + EPSILON)
        self._values *= 1 - config.correction_pull

    def _twist_in_metres(self, scene_depth: float) -> np.ndarray:
        return self.twist * [1.0, 1.0, 1.0, scene_depth, scene_depth, scene_depth]


def se3_exp(twist: np.ndarray) -> np.ndarray:
    """Rigid transform [4, 4] of a twist [6] (rotation vector, translation applied after it)."""
    skew = _skew(twist[:3])
    sine, cosine, _ = _coefficients(twist[:3])
    transform = np.eye(4)
    transform[:3, :3] += sine * skew + cosine * skew @ skew  # Rodrigues
    transform[:3, 3] = twist[3:]
    return transform


def se3_exp_gradient(twist: np.ndarray, of_transform: np.ndarray) -> np.ndarray:
    """[6] by the twist of what has the gradient `of_transform` [4, 4] by `se3_exp(twist)`.

    A turn R grows by [J w]x R for a change w of its vector, J the left Jacobian (Sola et al., "A micro Lie theory for
    state estimation in robotics", 2018, equation 145).
    """
    skew = _skew(twist[:3])
    _, cosine, rest = _coefficients(twist[:3])
    jacobian = np.eye(3) + cosine * skew + rest * skew @ skew
    moment = of_transform[:3, :3] @ se3_exp(twist)[:3, :3].T
    of_turn = np.array([moment[2, 1] - moment[1, 2], moment[0, 2] - moment[2, 0], moment[1, 0] - moment[0, 1]])
    return np.concatenate([jacobian.T @ of_turn, of_transform[:3, 3]])


def _skew(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _coefficients(vector: np.ndarray) -> tuple[float, float, float]:
    """sin(a) / a, (1 - cos(a)) / a^2 and (a - sin(a)) / a^3 of the vector's length a."""
    angle = math.sqrt(float(vector @ vector))
    if angle < 1e-4:  # the next terms are below 1e-9 of these
        return 1 - angle**2 / 6, 0.5 - angle**2 / 24, 1 / 6 - angle**2 / 120
    return math.sin(angle) / angle, (1 - math.cos(angle)) / angle**2, (angle - math.sin(angle)) / angle**3
