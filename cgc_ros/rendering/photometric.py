"""The appearance loss of 3D Gaussian Splatting: L1 and SSIM, fused with its gradient on the CPU."""

from __future__ import annotations

import functools

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
    return _LossByOperators.apply(rendered, target, ssim_weight, mask)


def photometric_gradient(
    rendered: Tensor, target: Tensor, ssim_weight: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`photometric_loss` and its gradient [H, W, 3] in `rendered`, written out in some forty operators.

    Windows are a depthwise convolution, which PyTorch computes in float32 by a kernel of its own: cuDNN's may round to
    TF32, in which the variances E[x^2] - E[x]^2 of bright, plain surfaces vanish.
    """
    x, y = rendered.permute(2, 0, 1), target.to(rendered.dtype).permute(2, 0, 1)  # [3, H, W]
    if mask is not None:
        x, y = x * mask, y * mask
    values = 3.0 * (x.shape[1] * x.shape[2] if mask is None else mask.sum().clamp_min(1))
    images = torch.stack([x, y])
    # Shifts of the means give a2 and b2 below their constants.
    windows = _window_means(torch.cat([images, images * images, (x * y)[None]]), shifts=(0.0, 0.0, _C2, 0.0, _C2 / 2))
    mean_x, mean_y, square_x, square_y, product = windows
    # SSIM = (2 mx my + C1) (2 cov + C2) / ((mx^2 + my^2 + C1) (var_x + var_y + C2)) = 4 a1 a2 / (b1 b2)
    means, squares = mean_x * mean_y, torch.addcmul(mean_x * mean_x, mean_y, mean_y)
    a1, a2 = means + _C1 / 2, product - means
    b1, b2 = squares + _C1, square_x + square_y - squares
    below = b1 * b2
    quarter = a1 * a2 / below
    difference = x - y
    l1 = torch.linalg.vector_norm(difference, 1)
    kept = quarter if mask is None else quarter * mask
    loss = torch.add(l1 * (1 - ssim_weight), kept.sum(), alpha=-4 * ssim_weight) / values + ssim_weight

    # By E[x], E[x^2] and E[x y], a quarter each; then through the windows, which are symmetric.
    by_mean = torch.addcmul(mean_y * (a2 - a1), mean_x, quarter * (b1 - b2), value=2.0)
    parts = torch.stack([by_mean, -quarter * b1, a1]) / below
    if mask is not None:
        parts = parts * mask
    of_mean, of_square, of_product = _window_means(parts)
    of_ssim = of_mean.addcmul(x, of_square, value=2.0).addcmul_(y, of_product)
    gradient = (difference.sign() * (1 - ssim_weight)).sub_(of_ssim, alpha=4 * ssim_weight) / values
    if mask is not None:
        gradient = gradient * mask
    return loss, gradient.permute(1, 2, 0)


def _window_means(images: Tensor, shifts: tuple[float, ...] | None = None) -> Tensor:
    """Means of [K, 3, H, W] over SSIM's window, zero outside the image; of the k-th plus `shifts[k]`."""
    channels = images.shape[0] * images.shape[1]
    taps, bias = _window(channels, images.dtype, images.device, shifts)
    planes = images.reshape(1, channels, *images.shape[2:])
    along_x = functional.conv2d(planes, taps.view(-1, 1, 1, 11), padding=(0, 5), groups=channels)
    return functional.conv2d(along_x, taps.view(-1, 1, 11, 1), bias, padding=(5, 0), groups=channels).view_as(images)


@functools.lru_cache(maxsize=16)
def _window(
    channels: int, dtype: torch.dtype, device: torch.device, shifts: tuple[float, ...] | None
) -> tuple[Tensor, Tensor | None]:
    """The window's 11 taps for every channel, and what is added to each."""
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    bias = None
    if shifts is not None:
        bias = torch.tensor(shifts, dtype=dtype).repeat_interleave(channels // len(shifts)).to(device)
    return (taps / taps.sum()).to(device, dtype).repeat(channels, 1), bias


class _LossByOperators(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rendered: Tensor, target: Tensor, ssim_weight: float, mask: Tensor | None) -> Tensor:
        loss, gradient = photometric_gradient(rendered, target, ssim_weight, mask)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None, None


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
