"""A photometric training step in torch operators, on any backend: what `train_in_place` does, up to Adam.

Only the rasteriser is differentiated by autograd. The losses' gradients are written out: each operator is a launch on
a GPU, and Python that holds back whatever else the process does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.photometric import PhotometricGradient, photometric_gradient
from cgc_ros.rendering.rasterization import rasterize
from cgc_ros.rendering.training_step import StepLosses, StepOutcome


@dataclass(frozen=True)
class StepGradients:
    """What a step found."""

    outcome: StepOutcome
    gradients: dict[str, Tensor]  # by name as in `TRAINED`, of the raw parameters
    visible: Tensor  # [N] bool; of a step with a mask, those that a pixel of it shows
    sizes: Tensor  # [N] metres, geometric mean of the two longer axes


def step_gradients(
    parameters: dict[str, Tensor],
    camera: Camera,
    color: Tensor,
    inverse_depth: Tensor | None,
    mask: Tensor | None,
    losses: StepLosses,
    *,
    sh_degree: int,
    gain: np.ndarray,
    offset: np.ndarray,
    background: Tensor,
    backend: str,
) -> StepGradients:
    """Gradients of a step's losses by the Gaussians, the exposure and the pose.

    Args:
        parameters: `TRAINED`, of the shapes that `train_in_place` takes, on the backend's device.
        camera: the view; its pose's gradient is found where it requires one.
        color: [H, W, 3] uint8, the target, on the same device.
        inverse_depth: [H, W] 1 / metres on the same device, 0 where depth is invalid or does not count; None: no depth
            loss.
        mask: [H, W] bool on the same device, as for `train_in_place`; None: all pixels count.
        losses: their weights.
        gain: [3] factors of the rendered colour, `offset` [3] added, before it is compared.
        background: [3] colour seen where the Gaussians are transparent.
    """
    log_scales = parameters["log_scales"].detach()
    leaves = {
        "means": parameters["means"].detach(),
        "quats": parameters["quats"].detach(),
        "scales": log_scales.exp(),
        "opacities": torch.sigmoid(parameters["logit_opacities"].detach()),
        "sh": parameters["sh"].detach(),
    }
    leaves = {name: value.requires_grad_(True) for name, value in leaves.items()}
    render = rasterize(
        leaves["means"],
        leaves["quats"],
        leaves["scales"],
        leaves["opacities"],
        camera,
        colors=leaves["sh"],
        sh_degree=sh_degree,
        depth=inverse_depth is not None,
        background=background,
        backend=backend,
    )
    with torch.no_grad():
        match = _match_color(render.color, color, mask, losses.ssim, gain, offset)
        outputs, seeds = [render.color], [match.of_rendered]
        if inverse_depth is not None:
            outputs.append(render.depth)
            seeds.append(_depth_gradient(render.depth, render.alpha, inverse_depth, losses))
        if losses.coverage:
            outputs.append(render.alpha)
            seeds.append(_coverage_gradient(render.alpha, mask, losses.coverage))
    found, of_pose = _backward(leaves, camera, outputs, seeds)
    with torch.no_grad():
        visible = render.visible
        ordered, order = log_scales.sort(dim=1)
        of_log_scales = found["scales"].mul_(leaves["scales"])
        moving = visible if mask is None else visible & (found["opacities"] != 0)
        share = losses.anisotropy / max(len(ordered), 1) or 1.0
        shares = visible * share  # what each adds to a mean over all; counts them, too
        of_opacities = torch.addcdiv(found["opacities"], shares, shares.sum().clamp_min(share), value=losses.opacity)
        if losses.anisotropy:
            _add_anisotropy(of_log_scales, ordered, order, shares, losses.max_anisotropy)
        gradients = {
            "means": found["means"],
            "quats": found["quats"],
            "log_scales": of_log_scales,
            "logit_opacities": torch.ops.aten.sigmoid_backward(of_opacities, leaves["opacities"]),
            "sh": found["sh"],
        }
        outcome = match.outcome(losses.ssim, of_pose)
    return StepGradients(outcome, gradients, moving, ordered[:, 1:].mean(dim=1).exp())


def _backward(
    leaves: dict[str, Tensor], camera: Camera, outputs: list[Tensor], seeds: list[Tensor]
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Gradients of the leaves, zeros where nothing is seen, and of the pose where it requires one."""
    pose = camera.camera_from_world
    wanted = [*leaves.values(), *([pose] if pose.requires_grad else [])]
    reached = [pair for pair in zip(outputs, seeds, strict=True) if pair[0].requires_grad]  # none where none is seen
    gradients: Sequence[Tensor | None] = [None] * len(wanted)
    if reached:
        gradients = torch.autograd.grad(
            [output for output, _ in reached], wanted, [seed for _, seed in reached], allow_unused=True
        )
    found = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(wanted, gradients, strict=True)
    ]
    return dict(zip(leaves, found, strict=False)), found[-1] if pose.requires_grad else None


@dataclass(frozen=True)
class _ColorMatch:
    """How a render compares with its target."""

    found: PhotometricGradient
    of_rendered: Tensor  # [H, W, 3]
    of_exposure: list[Tensor]  # [3] of gain and [3] of offset, before division by the number of values

    def outcome(self, ssim_weight: float, of_pose: Tensor | None) -> StepOutcome:
        """By the step's one copy from the device."""
        found = self.found
        parts = [found.l1, found.ssim, found.root, *([found.values] if isinstance(found.values, Tensor) else [])]
        parts += [*self.of_exposure, *([] if of_pose is None else [of_pose])]
        numbers = torch.cat([part.reshape(-1).to(found.l1.dtype) for part in parts]).tolist()
        l1, ssim, root, *numbers = numbers
        values = max(numbers.pop(0) if isinstance(found.values, Tensor) else found.values, 1)
        exposure = np.array(numbers[:6]).reshape(2, 3) / values
        return StepOutcome(
            ((1 - ssim_weight) * l1 - ssim_weight * ssim) / values + ssim_weight,
            root**2 / values,
            exposure[0],
            exposure[1],
            None if of_pose is None else np.array(numbers[6:]).reshape(4, 4),
        )


def _match_color(
    rendered: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float, gain: np.ndarray, offset: np.ndarray
) -> _ColorMatch:
    values = rendered.numel() if mask is None else 1
    exposure = torch.from_numpy(np.stack([gain, offset, gain / values])).to(rendered)
    found = photometric_gradient(rendered, target, ssim_weight, mask, exposure=exposure[:2], target_unit=1 / 255)
    of_rendered = found.gradient.permute(1, 2, 0) * exposure[2]
    if isinstance(found.values, Tensor):
        of_rendered /= found.values.clamp_min(1)
    by_channel = [(found.gradient * rendered.permute(2, 0, 1)).sum((1, 2)), found.gradient.sum((1, 2))]
    return _ColorMatch(found, of_rendered, by_channel)


def _coverage_gradient(alpha: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    """[H, W] of `weight` times the mean transparency."""
    if mask is None:
        return _constant((-weight / alpha.numel(),), alpha.dtype, alpha.device).expand_as(alpha)
    return mask * (-weight / mask.sum().clamp_min(1))


def _depth_gradient(rendered: Tensor, alpha: Tensor, inverse_depth: Tensor, losses: StepLosses) -> Tensor:
    """[H, W] of `losses.depth` times the mean of |rendered - depth| / depth over pixels that have both."""
    slopes = torch.ops.aten.threshold_backward(inverse_depth.to(alpha.dtype), alpha, losses.depth_min_alpha)
    error = torch.addcmul(_constant((-1.0,), alpha.dtype, alpha.device), rendered, slopes)
    most = losses.depth_max_error
    inside = torch.ops.aten.hardtanh_backward(slopes.copysign(error), error, -most, most)
    count = torch.linalg.vector_norm(slopes, 0).clamp_min(1)
    return inside.div_(count).mul_(losses.depth)


def _add_anisotropy(gradient: Tensor, ordered: Tensor, order: Tensor, shares: Tensor, most: float) -> None:
    """Of how far the longest axis exceeds `most` times the middle one, in logs, each Gaussian's times its share [N]:
    added to `gradient` [N, 3] of the log scales, which are `ordered` by `order`.
    """
    pull = torch.ops.aten.threshold_backward(shares, ordered[:, 2] - ordered[:, 1], math.log(most))
    gradient.scatter_add_(1, order[:, 1:], pull[:, None] * _constant((-1.0, 1.0), pull.dtype, pull.device))


@functools.lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers that are the same at every step: not copied to the device again."""
    return torch.tensor(values, dtype=dtype, device=device)
