"""One training step: render a keyframe, compare, move the Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, EPSILON, GaussianAdam
from cgc_ros.mapping.config import TrainingConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.resident_images import ResidentImages
from cgc_ros.rendering import StepLosses, StepOutcome, device_of, step_gradients, train_in_place


@dataclass(frozen=True)
class StepReport:
    """What one training step found, before it moved anything."""

    keyframe_id: int  # the keyframe that was rendered
    loss: float  # photometric, (1 - w) L1 + w (1 - SSIM) of colours in 0..1
    psnr: float  # dB, of this step's render against its keyframe


class PhotometricTrainer:
    """Trains geometry and colour of a map on keyframes (colour, and depth where there is some)."""

    def __init__(self, model: GaussianModel, config: TrainingConfig, backend: str):
        self.model, self.config, self.backend = model, config, backend
        self.optimizer = GaussianAdam(model)
        self.resident = ResidentImages(device_of(backend))

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; tensors are the model's."""
        self.backend = backend
        self.resident = ResidentImages(device, self.resident.limit_mb)

    def step(self, keyframe: Keyframe, scale: float, scene_depth: float, rate_factor: float) -> StepReport:
        """One step on `keyframe` rendered at `scale` of its size, all learning rates times `rate_factor`.

        `scene_depth` (metres) is the unit in which poses are corrected.
        """
        found = self._move(keyframe, scale, scene_depth, self._rates(rate_factor))
        of_pose = found.pose_gradient
        given = None if of_pose is None else np.linalg.inv(keyframe.world_from_camera)
        keyframe.corrections.step(found.gain_gradient, found.offset_gradient, of_pose, given, scene_depth)
        keyframe.steps += 1
        loss, memory = found.photometric, self.config.loss_memory
        keyframe.loss = loss if math.isnan(keyframe.loss) else memory * keyframe.loss + (1 - memory) * loss
        return StepReport(keyframe.id, loss, -10 * math.log10(max(found.mse, 1e-10)))

    def _move(self, keyframe: Keyframe, scale: float, scene_depth: float, rates: dict[str, float]) -> StepOutcome:
        """Move the Gaussians; what was found before that."""
        model, corrections = self.model, keyframe.corrections
        settings: dict[str, Any] = {
            "sh_degree": model.sh_degree,
            "gain": corrections.gain,
            "offset": corrections.offset,
            "background": model.background,
        }
        losses = self._losses(keyframe)
        if self.backend == "cpu":
            camera = corrections.place(keyframe.camera(scale, model.device), scene_depth)
            images = keyframe.scaled_images(camera.width, camera.height)
            settings |= {"betas": (BETA1, BETA2), "epsilon": EPSILON}
            return train_in_place(model.parameters, model.moments, rates, camera, *images, losses, **settings)
        view = self.resident.view(keyframe, scale)
        camera = corrections.place(view.camera, scene_depth)
        found = step_gradients(
            model.parameters,
            camera,
            view.color,
            view.inverse_depth,
            view.mask,
            losses,
            **settings,
            backend=self.backend,
        )
        by_row: dict[str, Any] = {**rates, "means": rates["means"] * found.sizes}
        self.optimizer.step(found.gradients, by_row, found.visible)
        return found.outcome

    def _losses(self, keyframe: Keyframe) -> StepLosses:
        config = self.config
        return StepLosses(
            config.ssim_weight,
            config.depth_weight * keyframe.depth_trust,
            config.opacity_weight,
            self._coverage_weight(keyframe),
            config.anisotropy_weight,
            config.max_anisotropy,
            config.depth_min_alpha,
            config.depth_max_error,
        )

    def _rates(self, factor: float) -> dict[str, float]:
        """Learning rates by parameter, all but the colours' times `factor`."""
        config = self.config
        return {
            "means": config.means_rate * factor,  # times each one's size
            "quats": config.quats_rate * factor,
            "log_scales": config.scales_rate * factor,
            "logit_opacities": config.opacities_rate * factor,
            "sh": config.colors_rate * max(factor, config.least_color_rate),
        }

    def _coverage_weight(self, keyframe: Keyframe) -> float:
        """Only where a depth camera tells where the surface is: elsewhere what is put in too near would close holes."""
        return self.config.coverage_weight if keyframe.has_depth_camera else 0.0


def step_scale(keyframe: Keyframe, config: TrainingConfig) -> float:
    """Of the image's size, for a keyframe's next step. Coarse to fine: small images while it is new, then full ones in
    turn with small ones.
    """
    fine = keyframe.steps - config.coarse_steps
    full = fine >= 0 and config.full_scale_every > 0 and fine % config.full_scale_every == 0
    return 1.0 if full else config.image_scale


def rate_factor(keyframe: Keyframe, config: TrainingConfig, step: int) -> float:
    """Of all learning rates, at a step of the mapper: full for a new keyframe, falling as it ages. What is new is
    learnt fast, and places seen long ago are not shaken while the camera is elsewhere.
    """
    age = (step - keyframe.born_step) / config.settle_steps
    return max(config.least_rate, config.settled_rate**age)
