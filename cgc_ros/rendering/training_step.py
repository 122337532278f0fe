"""A photometric training step in one call of the CPU kernels: render, losses, gradients and Adam, without autograd.

What it computes is what `PhotometricTrainer` spells out in torch operators for other backends; a test holds one
against the other. Gradients of the Gaussians exist for a moment only, a few of them at a time, and pixels are converted
on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgc_ros.rendering.camera import Camera
from cgc_ros.rendering.cpu import position_of, view_of
from cgc_ros.rendering.kernels import kernels, num_threads

TRAINED = ("means", "quats", "log_scales", "logit_opacities", "sh")


@dataclass(frozen=True)
class StepLosses:
    """Losses beside L1: weights, `ssim` in 0..1 and the others factors of what each one's mean is, and limits."""

    ssim: float
    depth: float
    opacity: float
    coverage: float
    anisotropy: float
    max_anisotropy: float  # longest over middle axis
    depth_min_alpha: float  # of a pixel, above which its depth is compared
    depth_max_error: float  # of the depth: pixels that are farther off have no gradient


@dataclass(frozen=True)
class StepOutcome:
    """What a step found, before the update."""

    photometric: float  # loss
    mse: float  # of the exposed colour
    gain_gradient: np.ndarray  # [3] float64
    offset_gradient: np.ndarray  # [3] float64
    pose_gradient: np.ndarray | None  # [4, 4] by `camera_from_world`, where that requires one


def train_in_place(
    parameters: dict[str, Tensor],
    moments: dict[str, tuple[Tensor, Tensor]],
    rates: dict[str, float],
    camera: Camera,
    color: np.ndarray,
    depth: np.ndarray | None,
    mask: np.ndarray | None,
    losses: StepLosses,
    *,
    sh_degree: int,
    gain: np.ndarray,
    offset: np.ndarray,
    background: Tensor,
    betas: tuple[float, float],
    epsilon: float,
) -> StepOutcome:
    """Move `parameters` and `moments` of the visible Gaussians by one step of Adam, in place.

    Args:
        parameters: `TRAINED`, contiguous float32 on the CPU: means [N, 3] metres, quats [N, 4], log_scales [N, 3],
            logit_opacities [N], sh [N, (sh_degree + 1)^2, 3].
        moments: Adam's two running means of each, of the same shapes.
        rates: of each; that of the means is times a Gaussian's size (`GaussianModel.sizes`).
        camera: the view; its pose's gradient is found where it requires one.
        color: [H, W, 3] uint8, the target.
        depth: [H, W] float16 metres, 0 = invalid; None: no depth loss.
        mask: [H, W] bool; all means run over its pixels alone, windows of SSIM see black outside, as beyond the
            image's edge, and what no pixel of it shows does not move. None: all pixels count.
        losses: their weights.
        gain: [3] factors of the rendered colour, `offset` [3] added, before it is compared.
        background: [3] colour seen where the Gaussians are transparent.

    Raises:
        ValueError, TypeError: shapes or types that do not fit.
    """
    position = position_of(camera) if sh_degree > 0 else None
    found = kernels.train_in_place(
        view_of(camera),
        **{
            name: (
                parameters[name].detach().numpy(),
                *(moment.numpy() for moment in moments[name]),
                float(rates[name]),
            )
            for name in TRAINED
        },
        sh_degree=sh_degree,
        camera_position=None if position is None else position.detach().contiguous().numpy(),
        color=color,
        depth=None if depth is None else depth.view(np.uint16),
        mask=None if mask is None else mask.view(np.uint8),
        gain=gain.tolist(),
        offset=offset.tolist(),
        background=background.tolist(),
        ssim_weight=losses.ssim,
        depth_weight=losses.depth,
        depth_min_alpha=losses.depth_min_alpha,
        depth_max_error=losses.depth_max_error,
        opacity_weight=losses.opacity,
        coverage_weight=losses.coverage,
        anisotropy_weight=losses.anisotropy,
        max_log_ratio=math.log(losses.max_anisotropy),
        beta1=betas[0],
        beta2=betas[1],
        epsilon=epsilon,
        camera_wanted=camera.camera_from_world.requires_grad,
        threads=num_threads(),
    )
    of_pose = None
    if camera.camera_from_world.requires_grad:
        of_pose = np.zeros((4, 4), np.float32)
        of_pose[:3] = found["camera"]
        if position is not None:
            seed = torch.from_numpy(found["camera_position"]).float()
            (by_position,) = torch.autograd.grad(position, camera.camera_from_world, seed)
            of_pose += by_position.numpy()
    return StepOutcome(found["photometric"], found["mse"], found["gain"], found["offset"], of_pose)
