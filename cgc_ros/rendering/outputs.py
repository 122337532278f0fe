"""What a render gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cgc_ros.rendering.kernels import kernels, kernels_take, num_threads

#: A tensor where it was asked for, else None. Not `Tensor | None` to a type checker: who asks knows that it is there.
Asked = Tensor | Any


@dataclass
class Render:
    """One view. What was not asked for is None."""

    color: Asked  # [H, W, 3]
    features: Asked  # [H, W, F], blended, not normalised
    depth: Asked  # [H, W] expected depth: sum(w z) / sum(w), 0 where alpha is 0
    alpha: Tensor  # [H, W]
    radii: Tensor  # [N] int32, pixels; 0 = did not reach the screen
    contribution: Asked = None  # [N] sum over pixels of alpha * T; carries no gradient

    @property
    def visible(self) -> Tensor:
        """[N] bool: reached the screen."""
        return self.radii > 0


@dataclass(frozen=True)
class BlendWeights:
    """The blend at some pixels as a sparse (pixel, Gaussian) matrix, CSR; it does not depend on what is blended."""

    offsets: Tensor  # [P + 1] int64
    gaussians: Tensor  # [nnz] int32, front to back within a pixel
    values: Tensor  # [nnz] float32, alpha * T
    num_gaussians: int

    def blend(self, values: Tensor) -> Tensor:
        """Blend `values` [N, C] into [P, C], differentiable in `values`, the weights held fixed."""
        if values.ndim != 2 or values.shape[0] != self.num_gaussians:
            raise ValueError(f"values must be [{self.num_gaussians}, C], got {list(values.shape)}")
        if not kernels_take(values):
            return self.to_sparse(values.dtype) @ values
        return _Blend.apply(values, self)

    def alpha(self) -> Tensor:
        """[P] sum of weights."""
        ones = torch.ones(self.num_gaussians, 1, device=self.values.device)
        return self.blend(ones)[:, 0]

    def to_sparse(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The same matrix as a torch sparse COO tensor, [P, N]."""
        pixels = torch.arange(self.offsets.shape[0] - 1, device=self.offsets.device)
        rows = torch.repeat_interleave(pixels, self.offsets.diff())
        indices = torch.stack([rows, self.gaussians.long()])
        shape = (pixels.shape[0], self.num_gaussians)
        return torch.sparse_coo_tensor(indices, self.values.to(dtype), shape, check_invariants=False)


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, weights: BlendWeights) -> Tensor:
        ctx.weights = weights
        out = values.new_empty(weights.offsets.shape[0] - 1, values.shape[1])
        kernels.blend_values(
            weights.offsets.numpy(),
            weights.gaussians.numpy(),
            weights.values.numpy(),
            values.detach().contiguous().numpy(),
            out.numpy(),
            threads=num_threads(),
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        weights = ctx.weights
        out = gradient.new_empty(weights.num_gaussians, gradient.shape[1])
        kernels.blend_values_backward(
            weights.offsets.numpy(),
            weights.gaussians.numpy(),
            weights.values.numpy(),
            gradient.contiguous().numpy(),
            out.numpy(),
            threads=num_threads(),
        )
        return out, None
