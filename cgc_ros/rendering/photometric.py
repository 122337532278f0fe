"""The appearance loss of 3D Gaussian Splatting: L1 and SSIM, fused with its gradient on the CPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass

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


@dataclass(frozen=True)
class PhotometricGradient:
    """The loss in parts that a GPU adds up, and its gradient, all before division by the number of values."""

    l1: Tensor  # scalar, sum of |rendered - target|
    ssim: Tensor  # scalar, sum of SSIM
    root: Tensor  # scalar, root of the sum of squared differences
    gradient: Tensor  # [3, H, W] of (1 - w) l1 - w ssim, in `rendered`
    values: Tensor | int  # how many there are: 3 H W, or of a mask's pixels, a scalar


def photometric_gradient(
    rendered: Tensor,
    target: Tensor,
    ssim_weight: float,
    mask: Tensor | None = None,
    *,
    exposure: Tensor | None = None,
    target_unit: float = 1.0,
) -> PhotometricGradient:
    """`photometric_loss` written out in some thirty operators, each a launch on a GPU.

    With s = x + y and d = x - y for the images x and y, m and v their local means and variances over SSIM's window,
    SSIM = A1 A2 / (B1 B2) where A1 = m_s^2 - m_d^2 + 2 C1, B1 = m_s^2 + m_d^2 + 2 C1, A2 = v_s - v_d + 2 C2 and
    B2 = v_s + v_d + 2 C2: four windows instead of five, and both factors by the same operators.

    Windows are a depthwise convolution, which PyTorch computes in float32 by a kernel of its own: cuDNN's may round to
    TF32, in which the variances E[x^2] - E[x]^2 of bright, plain surfaces vanish.

    Args:
        rendered: [H, W, 3].
        target: [H, W, 3], of floats, or uint8.
        ssim_weight: w.
        mask: [H, W] bool.
        exposure: [2, 3] factor and offset of each channel of `rendered` before it is compared.
        target_unit: by which the target is multiplied.
    """
    x, y = rendered.permute(2, 0, 1), target.permute(2, 0, 1)  # [3, H, W]
    if exposure is not None:
        x = torch.addcmul(exposure[1].view(3, 1, 1), x, exposure[0].view(3, 1, 1))
    planes = x.new_empty(4, *x.shape)  # s, d and their squares
    images = planes[:2]
    torch.add(x, y, alpha=target_unit, out=images[0])
    torch.sub(x, y, alpha=target_unit, out=images[1])
    if mask is not None:
        images.mul_(mask)
    torch.square(images, out=planes[2:])
    of_first = _constants(x.dtype, x.device)
    windows = _window_means(planes, shifts=(0.0, 0.0, 2 * (_C1 + _C2), 0.0))
    means, of_squares = windows[:2], windows[2:]
    moments = x.new_empty(2, 2, *x.shape)  # squared means, variances; of s, with constants added, and of d
    torch.addcmul(of_first, means, means, out=moments[0])
    torch.sub(of_squares, moments[0], out=moments[1])
    below = moments[:, 0] + moments[:, 1]  # [2, 3, H, W]: B1, B2
    factors = (moments[:, 0] - moments[:, 1]).div_(below)  # A1 / B1, A2 / B2
    others = factors.flip(0).div_(below)  # A2 / (B1 B2), A1 / (B1 B2)
    first = factors[0]
    if mask is not None:
        first = first * mask
        others.mul_(mask)
    ssim = torch.dot(first.flatten(), factors[1].flatten())

    # By the first moments and the variances of s: others (1 - factors); of d: -others (1 + factors).
    parts = x.new_empty(5, *x.shape)
    torch.addcmul(others, others, factors, value=-1.0, out=parts[0:4:3])
    torch.addcmul(others, others, factors, out=parts[1:5:3])
    by_mean = torch.sub(parts[0:2], parts[3:5]).mul_(means)
    torch.sub(by_mean[0], by_mean[1], out=parts[2])
    through = _window_means(parts[2:], scale=-2 * ssim_weight)
    gradient = torch.addcmul(through[0], images[0], through[1]).addcmul_(images[1], through[2], value=-1.0)
    gradient.add_(images[1].sign(), alpha=1 - ssim_weight)
    if mask is not None:
        gradient.mul_(mask)
    l1, root = torch.linalg.vector_norm(images[1], 1), torch.linalg.vector_norm(images[1])
    values = x.numel() if mask is None else 3 * mask.sum()
    return PhotometricGradient(l1, ssim, root, gradient, values)


def _window_means(planes: Tensor, shifts: tuple[float, ...] | None = None, scale: float = 1.0) -> Tensor:
    """Means of [K, 3, H, W] over SSIM's window, zero outside the image, times `scale`; of the k-th plus `shifts[k]`."""
    channels = planes.shape[0] * planes.shape[1]
    along_x, along_y, bias = _window(channels, planes.dtype, planes.device, shifts, scale)
    images = planes.view(1, channels, *planes.shape[2:])
    means = functional.conv2d(images, along_x, padding=(0, 5), groups=channels)
    return functional.conv2d(means, along_y, bias, padding=(5, 0), groups=channels).view_as(planes)


@functools.lru_cache(maxsize=16)
def _window(
    channels: int, dtype: torch.dtype, device: torch.device, shifts: tuple[float, ...] | None, scale: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The window's 11 taps for every channel along x, and along y times `scale`; and what is added to each."""
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).repeat(channels, 1)
    bias = None
    if shifts is not None:
        bias = torch.tensor(shifts, dtype=dtype).repeat_interleave(channels // len(shifts)).to(device)
    along_x, along_y = taps.view(-1, 1, 1, 11), (scale * taps).view(-1, 1, 11, 1)
    return along_x.to(device, dtype), along_y.to(device, dtype), bias


@functools.lru_cache(maxsize=4)
def _constants(dtype: torch.dtype, device: torch.device) -> Tensor:
    """[2, 1, 1, 1]: what is added to the squared means of the sum, and of the difference."""
    return torch.tensor([2 * _C1, 0.0], dtype=dtype, device=device).view(2, 1, 1, 1)


class _LossByOperators(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rendered: Tensor, target: Tensor, ssim_weight: float, mask: Tensor | None) -> Tensor:
        found = photometric_gradient(rendered, target, ssim_weight, mask)
        values = torch.as_tensor(found.values).clamp_min(1)
        ctx.save_for_backward((found.gradient / values).permute(1, 2, 0))
        return ((1 - ssim_weight) * found.l1 - ssim_weight * found.ssim) / values + ssim_weight

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
