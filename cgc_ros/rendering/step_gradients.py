"""A photometric training step in torch operators, on any backend: what `train_in_place` does, up to Adam.

Only the rasteriser is differentiated by autograd. The losses' gradients are written out: each operator is a launch on
a GPU, and Python that holds back whatever else the process does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.photometric import photometric_gradient
from cgc_ros.rendering.rasterization import rasterize
from cgc_ros.rendering.training_step import StepLosses, StepOutcome


@dataclass(frozen=True)
class StepGradients:
    """What a step found. The pose's gradient is accumulated where the camera's requires one."""

    outcome: StepOutcome
    gradients: dict[str, Tensor]  # by name as in `TRAINED`, of the raw parameters
    visible: Tensor  # [N] bool; of a step with a mask, those that a pixel of it shows
    sizes: Tensor  # [N] metres, geometric mean of the two longer axes


def step_gradients(
    parameters: dict[str, Tensor],
    camera: Camera,
    color: Tensor,
    depth: Tensor | None,
    mask: Tensor | None,
    losses: StepLosses,
    *,
    sh_degree: int,
    gain: Tensor,
    offset: Tensor,
    background: Tensor,
    backend: str,
) -> StepGradients:
    """Gradients of a step's losses by the Gaussians, the exposure and the pose.

    Args:
        parameters: `TRAINED`, of the shapes that `train_in_place` takes, on the backend's device.
        camera: the view.
        color: [H, W, 3] uint8, the target, on the same device.
        depth: [H, W] metres, 0 = invalid, on the same device; None: no depth loss.
        mask: [H, W] bool on the same device, as for `train_in_place`; None: all pixels count.
        losses: their weights.
        gain: [3] factors of the rendered colour, `offset` [3] added, before it is compared; on any device.
        background: [3] colour seen where the Gaussians are transparent.
    """
    log_scales = parameters["log_scales"].detach()
    natural = {
        "means": parameters["means"].detach(),
        "quats": parameters["quats"].detach(),
        "scales": log_scales.exp(),
        "opacities": torch.sigmoid(parameters["logit_opacities"].detach()),
        "sh": parameters["sh"].detach(),
    }
    leaves = {name: value.requires_grad_(True) for name, value in natural.items()}
    render = rasterize(
        leaves["means"],
        leaves["quats"],
        leaves["scales"],
        leaves["opacities"],
        camera,
        colors=leaves["sh"],
        sh_degree=sh_degree,
        depth=depth is not None,
        background=background,
        backend=backend,
    )
    with torch.no_grad():
        photometric, root, of_color, of_exposure = _color_gradient(render.color, color, mask, losses.ssim, gain, offset)
        outputs, seeds = [render.color], [of_color]
        if depth is not None:
            outputs.append(render.depth)
            seeds.append(_depth_gradient(render.depth, render.alpha, depth, mask, losses))
        if losses.coverage:
            outputs.append(render.alpha)
            seeds.append(_coverage_gradient(render.alpha, mask, losses.coverage))
    reached = [pair for pair in zip(outputs, seeds, strict=True) if pair[0].requires_grad]  # none where none is seen
    if reached:
        torch.autograd.backward([output for output, _ in reached], [seed for _, seed in reached])
    with torch.no_grad():
        visible = render.visible
        found = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
        ordered, order = log_scales.sort(dim=1)
        of_log_scales = found["scales"].mul_(natural["scales"])
        _add_anisotropy(of_log_scales, ordered, order, visible, losses)
        moving = visible if mask is None else visible & (found["opacities"] != 0)
        of_opacities = found["opacities"].add_(visible * (losses.opacity / visible.sum().clamp_min(1)))
        gradients = {
            "means": found["means"],
            "quats": found["quats"],
            "log_scales": of_log_scales,
            "logit_opacities": torch.ops.aten.sigmoid_backward(of_opacities, natural["opacities"]),
            "sh": found["sh"],
        }
        scalars = torch.cat([torch.stack([photometric, root]), of_exposure]).tolist()  # the step's one copy back
    outcome = StepOutcome(
        scalars[0],
        scalars[1] ** 2 / color.numel(),
        np.array(scalars[2:5], np.float64),
        np.array(scalars[5:], np.float64),
    )
    return StepGradients(outcome, gradients, moving, ordered[:, 1:].mean(dim=1).exp())


def _color_gradient(
    rendered: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float, gain: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, root of the sum of squared differences (of a mask's pixels, times what it is short of all), gradient
    [H, W, 3] by the rendered colour, and by gain and offset together [6].
    """
    exposure = torch.stack([gain, offset]).detach().to(rendered)
    exposed = torch.addcmul(exposure[1], rendered, exposure[0])
    wanted = target * (1 / 255)
    loss, gradient = photometric_gradient(exposed, wanted, ssim_weight, mask)
    of_exposure = torch.cat([(gradient * rendered).sum((0, 1)), gradient.sum((0, 1))])
    difference = exposed - wanted
    if mask is None:
        root = torch.linalg.vector_norm(difference)
    else:
        share = mask.sum().clamp_min(1) / mask.numel()
        root = torch.linalg.vector_norm(difference * mask[..., None]) / share.sqrt()
    return loss, root, gradient * exposure[0], of_exposure


def _coverage_gradient(alpha: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    """[H, W] of `weight` times the mean transparency."""
    if mask is None:
        return torch.full_like(alpha, -weight / alpha.numel())
    return mask * (-weight / mask.sum().clamp_min(1))


def _depth_gradient(rendered: Tensor, alpha: Tensor, depth: Tensor, mask: Tensor | None, losses: StepLosses) -> Tensor:
    """[H, W] of `losses.depth` times the mean of |rendered - depth| / depth over pixels that have both."""
    depth = depth.to(rendered.dtype)
    valid = (depth > 0).logical_and_(alpha > losses.depth_min_alpha)
    if mask is not None:
        valid = valid.logical_and_(mask)
    scale = valid / depth.clamp_min(1e-6)
    error = (rendered - depth) * scale
    most = losses.depth_max_error
    inside = torch.ops.aten.hardtanh_backward(error.sign(), error, -most, most)
    return inside.mul_(scale).mul_(losses.depth / valid.sum().clamp_min(1))


def _add_anisotropy(gradient: Tensor, ordered: Tensor, order: Tensor, visible: Tensor, losses: StepLosses) -> None:
    """Of the mean, over all Gaussians, of how far the visible ones' longest axis exceeds its share of the middle one:
    added to `gradient` [N, 3] of the log scales, which are `ordered` by `order`.
    """
    needle = (ordered[:, 2] - ordered[:, 1] > math.log(losses.max_anisotropy)).logical_and_(visible)
    pull = needle * (losses.anisotropy / max(len(ordered), 1))
    gradient.scatter_add_(1, order[:, 1:], torch.stack([-pull, pull], dim=1))
