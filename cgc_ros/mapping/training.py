"""One training step: render a keyframe, compare, move the Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, EPSILON, GaussianAdam
from cgc_ros.mapping.config import TrainingConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.rendering import Camera, StepLosses, photometric_loss, rasterize, train_in_place
from cgc_ros.rendering.training_step import TRAINED

LOSS_MEMORY = 0.7  # of a keyframe's running loss


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

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; tensors are the model's."""
        self.backend = backend

    def step(self, keyframe: Keyframe, scale: float, scene_depth: float, rate_factor: float) -> StepReport:
        """One step on `keyframe` rendered at `scale` of its size, all learning rates times `rate_factor`.

        `scene_depth` (metres) is the unit in which poses are corrected.
        """
        corrections = keyframe.corrections
        camera = corrections.place(keyframe.camera(scale, self.model.device), scene_depth)
        move = self.move_by_kernels if self.backend == "cpu" else self.move_by_operators
        photometric, mse = move(keyframe, camera, self.rates(rate_factor))
        corrections.step()
        keyframe.steps += 1
        known = not math.isnan(keyframe.loss)
        keyframe.loss = LOSS_MEMORY * keyframe.loss + (1 - LOSS_MEMORY) * photometric if known else photometric
        return StepReport(keyframe.id, photometric, -10 * math.log10(max(mse, 1e-10)))

    def move_by_kernels(self, keyframe: Keyframe, camera: Camera, rates: dict[str, float]) -> tuple[float, float]:
        """`move_by_operators` by the CPU kernels in one go."""
        model, config, corrections = self.model, self.config, keyframe.corrections
        color, depth = keyframe.scaled_images(camera.width, camera.height)
        losses = StepLosses(
            config.ssim_weight,
            config.depth_weight * keyframe.depth_trust,
            config.opacity_weight,
            self._coverage_weight(keyframe),
            config.anisotropy_weight,
            config.max_anisotropy,
        )
        gain = corrections.log_gain.detach().exp()
        found = train_in_place(
            model.parameters,
            model.moments,
            rates,
            camera,
            color,
            depth,
            losses,
            sh_degree=model.sh_degree,
            gain=gain,
            offset=corrections.offset,
            background=model.background,
            betas=(BETA1, BETA2),
            epsilon=EPSILON,
        )
        corrections.log_gain.grad = torch.from_numpy(found.gain_gradient).float() * gain
        corrections.offset.grad = torch.from_numpy(found.offset_gradient).float()
        return found.photometric, found.mse

    def move_by_operators(self, keyframe: Keyframe, camera: Camera, rates: dict[str, float]) -> tuple[float, float]:
        """Move the Gaussians and leave the gradients of the keyframe's corrections; photometric loss and mean squared
        error before that. On any backend, by torch operators.
        """
        model, config, corrections = self.model, self.config, keyframe.corrections
        color, depth = keyframe.target(camera, model.device)
        leaves = {name: model.parameters[name].detach().requires_grad_(True) for name in TRAINED}
        scales, opacities = leaves["log_scales"].exp(), torch.sigmoid(leaves["logit_opacities"])
        render = rasterize(
            leaves["means"],
            leaves["quats"],
            scales,
            opacities,
            camera,
            colors=leaves["sh"],
            sh_degree=model.sh_degree,
            depth=depth is not None,
            background=model.background,
            backend=self.backend,
        )
        exposed = corrections.expose(render.color)
        loss = photometric_loss(exposed, color, ssim_weight=config.ssim_weight)
        photometric = loss.detach()
        if depth is not None:
            loss = loss + config.depth_weight * keyframe.depth_trust * relative_depth_loss(
                render.depth, render.alpha, depth
            )
        loss = loss + self._regularisers(leaves["log_scales"], opacities, render.visible)
        loss = loss + self._coverage_weight(keyframe) * (1 - render.alpha).mean()
        loss.backward()
        of_means = rates["means"] * model.sizes.detach()
        gradients = {name: leaf.grad for name, leaf in leaves.items()}
        self.optimizer.step(gradients, rates | {"means": of_means}, render.visible)
        with torch.no_grad():
            mse = (exposed - color).square().mean()
        return float(photometric), float(mse)

    def rates(self, factor: float) -> dict[str, float]:
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
        return self.config.coverage_weight if keyframe.depth is not None and keyframe.depth_trust == 1.0 else 0.0

    def _regularisers(self, log_scales: Tensor, opacities: Tensor, visible: Tensor) -> Tensor:
        config = self.config
        opacity = (opacities * visible).sum() / visible.sum().clamp_min(1)
        ordered = log_scales.sort(dim=1).values
        needle = (ordered[:, 2] - ordered[:, 1] - math.log(config.max_anisotropy)).clamp_min(0)
        return config.opacity_weight * opacity + config.anisotropy_weight * (needle * visible).mean()


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


def relative_depth_loss(rendered: Tensor, alpha: Tensor, depth: Tensor) -> Tensor:
    """Mean |rendered - measured| / measured over pixels ([H, W], metres) that have both; errors beyond 50% count
    as 50%.
    """
    valid = (depth > 0) & (alpha.detach() > 0.3)
    error = (rendered - depth).abs() / depth.clamp_min(1e-6)
    return (error.clamp_max(0.5) * valid).sum() / valid.sum().clamp_min(1)
