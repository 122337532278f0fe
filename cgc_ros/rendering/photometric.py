"""The appearance loss of 3D Gaussian Splatting: L1 and SSIM, fused with its gradient on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cgc_ros.rendering.kernels import kernels, kernels_take, num_threads

_C1, _C2 = 0.01**2, 0.03**2


def photometric_loss(rendered: Tensor, target: Tensor, ssim_weight: float = 0.2, mask: Tensor | None = None) -> Tensor:
    """(1 - w) L1 + w (1 - SSIM), a scalar that is differentiable in `rendered`.

    Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023, equation 7; SSIM with an 11 x 11
    Gaussian window of sigma 1.5 and zero padding.

    Args:
        rendered: [H, W, 3], 0..1.
        target: [H, W, 3], taken as constant.
        ssim_weight: w.
        mask: [H, W] bool. Pixels outside are black in both images, and both means run over the mask alone.
    """
    if rendered.shape != target.shape or rendered.ndim != 3 or rendered.shape[2] != 3:
        raise ValueError(f"images must both be [H, W, 3], got {list(rendered.shape)} and {list(target.shape)}")
    if mask is not None and mask.shape != rendered.shape[:2]:
        raise ValueError(f"mask must be {list(rendered.shape[:2])}, got {list(mask.shape)}")
    if not kernels_take(rendered):
        return photometric_loss_torch(rendered, target, ssim_weight, mask)
    return _PhotometricLoss.apply(rendered, target, ssim_weight, mask)


def photometric_loss_torch(
    rendered: Tensor, target: Tensor, ssim_weight: float = 0.2, mask: Tensor | None = None
) -> Tensor:
    """The same by torch operators, for any device and precision."""
    x, y = rendered.permute(2, 0, 1)[:, None], target.to(rendered.dtype).permute(2, 0, 1)[:, None]  # [3, 1, H, W]
    keep = torch.ones_like(x[:1]) if mask is None else mask.to(x.dtype)[None, None]
    x, y = x * keep, y * keep
    values = (3 * keep.sum()).clamp_min(1)
    taps = torch.exp(-((torch.arange(11, dtype=x.dtype, device=x.device) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()

    def window_mean(image: Tensor) -> Tensor:
        along_x = functional.conv2d(image, taps.view(1, 1, 1, 11), padding=(0, 5))
        return functional.conv2d(along_x, taps.view(1, 1, 11, 1), padding=(5, 0))

    mean_x, mean_y = window_mean(x), window_mean(y)
    var_x, var_y = window_mean(x * x) - mean_x**2, window_mean(y * y) - mean_y**2
    covariance = window_mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    ssim = likeness / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    l1 = (x - y).abs().sum() / values
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - (ssim * keep).sum() / values)


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rendered: Tensor, target: Tensor, ssim_weight: float, mask: Tensor | None) -> Tensor:
        gradient = None
        if rendered.requires_grad:
            gradient = torch.empty_like(rendered, memory_format=torch.contiguous_format)
        loss = kernels.photometric_loss(
            rendered.detach().contiguous().numpy(),
            target.detach().contiguous().numpy(),
            None if mask is None else mask.to(torch.uint8).contiguous().numpy(),
            ssim_weight,
            None if gradient is None else gradient.numpy(),
            threads=num_threads(),
        )
        ctx.save_for_backward(gradient)
        return rendered.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None, None
