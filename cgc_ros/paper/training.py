"""One training step of the paper's recipe: colours, features and geometry learn together from a whole view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, GaussianAdam
from cgc_ros.mapping.config import PaperConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.resident_images import ResidentImages
from cgc_ros.mapping.training import StepReport
from cgc_ros.masks import compact_masks
from cgc_ros.rendering import device_of, photometric_loss, rasterize
from cgc_ros.segmentation import contrastive_clustering_loss, spatial_similarity_loss


@dataclass(frozen=True)
class ScreenMotion:
    """What density control learns from a step."""

    gradient: Tensor  # [N, 2] loss per pixel that a Gaussian's projected centre moves
    visible: Tensor  # [N] bool, by pixels that count
    width: int  # pixels
    height: int


class PaperTrainer:
    """Contrastive Gaussian Clustering (arXiv 2404.12784), section 3, with the rates of 3DGS."""

    def __init__(self, model: GaussianModel, config: PaperConfig, backend: str, seed: int):
        self.model, self.config, self.backend = model, config, backend
        self.optimizer = GaussianAdam(model)
        self.resident = ResidentImages(device_of(backend))
        self.updates = 0  # steps of Adam
        self.rng = np.random.default_rng(seed)

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; tensors are the model's."""
        self.backend = backend
        self.resident = ResidentImages(device, self.resident.limit_mb)

    def step(self, keyframe: Keyframe, step: int, progress: float, extent: float) -> tuple[StepReport, ScreenMotion]:
        """Step number `step` (from 1) on a keyframe at its full size; `progress` 0..1 of the run, `extent` metres."""
        model, config = self.model, self.config
        view = self.resident.view(keyframe, 1.0)
        camera, color = view.camera, view.color / 255
        masks = self._masks(keyframe) if step % config.contrastive_every == 0 else None
        leaves = {name: value.detach().requires_grad_(True) for name, value in model.parameters.items()}
        probe = torch.zeros(len(model), 2, device=model.device, requires_grad=True)
        render = rasterize(
            leaves["means"],
            leaves["quats"],
            leaves["log_scales"].exp(),
            torch.sigmoid(leaves["logit_opacities"]),
            camera,
            colors=leaves["sh"],
            sh_degree=harmonics_degree(progress, config),
            features=None if masks is None else leaves["features"],
            means2d_grad=probe,
            backend=self.backend,
        )
        loss = photometric_loss(render.color, color, ssim_weight=config.ssim_weight, mask=view.mask)
        value = float(loss.detach())
        if masks is not None:
            loss = loss + config.contrastive_weight * view_contrast(render.features, masks)
        if step % config.spatial_every == 0:
            loss = loss + self._spatial(leaves["features"], leaves["means"])
        loss.backward()
        self.update({name: leaf.grad for name, leaf in leaves.items()}, progress, extent)
        squares, visible = (render.color.detach() - color).square(), render.visible
        of_means2d = torch.zeros_like(probe) if probe.grad is None else probe.grad  # none where none is seen
        if view.mask is not None:
            squares, visible = squares[view.mask], visible & (of_means2d != 0).any(dim=1)
        report = StepReport(keyframe.id, value, -10 * math.log10(max(float(squares.mean()), 1e-10)))
        return report, ScreenMotion(of_means2d, visible, camera.width, camera.height)

    def update(self, gradients: dict[str, Tensor | None], progress: float, extent: float) -> None:
        """One step of Adam over every Gaussian, seen or not. What has no gradient (None) coasts on its momentum."""
        model, config = self.model, self.config
        self.updates += 1
        # The moments start at zero; torch.optim.Adam makes up for it, which comes down to a factor on the rates.
        unbiased = math.sqrt(1 - BETA2**self.updates) / (1 - BETA1**self.updates)
        rates = {
            "means": means_rate(progress, config) * extent,
            "quats": config.quats_rate,
            "log_scales": config.scales_rate,
            "logit_opacities": config.opacities_rate,
            "sh": config.colors_rate,
            "sh_rest": config.harmonics_share * config.colors_rate,
            "features": config.features_rate,
        }
        filled = {
            name: torch.zeros_like(model.parameters[name]) if gradient is None else gradient
            for name, gradient in gradients.items()
        }
        self.optimizer.step(filled, {name: rate * unbiased for name, rate in rates.items()})

    def _masks(self, keyframe: Keyframe) -> Tensor | None:
        """The view's own masks of objects [H, W] int64, 0 = none, 1..M; None where there are none."""
        if keyframe.masks is None:
            return None
        of_objects = keyframe.masks if keyframe.masks.ndim == 2 else keyframe.masks[0]  # beside those of their parts
        if keyframe.ignore is not None:
            of_objects = np.where(keyframe.ignore, 0, of_objects)
        compact, count = compact_masks(of_objects, self.config.min_mask_pixels)
        return torch.from_numpy(compact.astype(np.int64)).to(self.model.device) if count else None

    def _spatial(self, features: Tensor, means: Tensor) -> Tensor:
        count = len(features)
        sample = self.rng.choice(count, min(self.config.spatial_sample, count), replace=False)
        rows = torch.from_numpy(sample).to(features.device)
        return spatial_similarity_loss(features[rows], means[rows])


def view_contrast(features: Tensor, masks: Tensor) -> Tensor:
    """The paper's contrastive term of one view, sums over pixels: rendered features [H, W, F], masks [H, W] int64."""
    inside = masks > 0
    return contrastive_clustering_loss(features[inside], masks[inside], pixel_sums=True)


def means_rate(progress: float, config: PaperConfig) -> float:
    """Log-linear from `means_rate` to `final_means_rate`, of the scene's extent."""
    return config.means_rate ** (1 - progress) * config.final_means_rate**progress


def harmonics_degree(progress: float, config: PaperConfig) -> int:
    """Highest band of spherical harmonics in use at this point of the run."""
    return min(config.sh_degree, int(progress / config.raise_harmonics + 1e-9))
