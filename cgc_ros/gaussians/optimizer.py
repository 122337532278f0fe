"""Adam over the rows of a GaussianModel, with a learning rate per parameter and, optionally, per Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.rendering import device_of
from cgc_ros.rendering.gsplat_backend import adam
from cgc_ros.rendering.kernels import kernels, kernels_take, num_threads

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-15


def adam_step(
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    betas: tuple[float, float],
    epsilon: float,
    moves: Tensor,
) -> Tensor:
    """Take a gradient into Adam's two running means, in place; what to subtract from the parameter, in rates.

    Algorithm 1 of Kingma and Ba, Adam (2015), its running means taken as they are. All tensors are of one shape.

    Args:
        moves: bool, broadcastable: where it is False, the means stay and the step is 0.
    """
    first.copy_(torch.where(moves, torch.lerp(first, gradient, 1 - betas[0]), first))
    second.copy_(torch.where(moves, torch.lerp(second, gradient.square(), 1 - betas[1]), second))
    return torch.where(moves, first / (second.sqrt() + epsilon), 0.0)


class GaussianAdam:
    """Adam (Kingma and Ba 2015) whose moments live in the model and so follow every change of its rows.

    Only rows with a gradient in this step move (`visible`): a Gaussian outside the view keeps still instead of
    drifting on its old momentum, and the step costs what is seen, not what is stored.
    """

    def __init__(self, model: GaussianModel):
        self.model = model

    def step(
        self,
        gradients: Mapping[str, Tensor | Any],  # Any: `.grad` of what was differentiated, which is no None
        rates: Mapping[str, float | Tensor],
        visible: Tensor | None = None,
        touched_only: bool = False,
    ) -> None:
        """Move every parameter in `gradients` ([N, ...] each) by its rate, or each of its rows by its own ([N]).

        `rates["sh_rest"]`, where given, is that of all bands of harmonics but the first.
        `visible` [N] bool limits the rows; with `touched_only`, rows whose gradient is all zeros keep still, too.
        """
        bands = self.model.sh.detach()[:, 1:].clone() if "sh_rest" in rates and "sh" in gradients else None
        with torch.no_grad():
            for name, gradient in gradients.items():
                parameter, moments = self.model.parameters[name].detach(), self.model.moments[name]
                rate = rates[name]
                update: Callable[..., None] = _update_by_operators
                if parameter.device.type == device_of("gsplat").type:
                    update = _update_by_gsplat
                elif kernels_take(parameter) and not isinstance(rate, Tensor):
                    update = _update_by_kernel
                update(parameter, *moments, gradient, rate, visible, touched_only)
            if bands is not None:  # Adam's step is proportional to the rate
                self.model.sh.detach()[:, 1:].lerp_(bands, 1 - rates["sh_rest"] / rates["sh"])


def _update_by_kernel(
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    rate: float,
    visible: Tensor | None,
    touched_only: bool,
) -> None:
    """One pass over memory, in place."""
    rows = len(parameter)
    arrays = [tensor.contiguous().reshape(rows, -1).numpy() for tensor in (parameter, first, second, gradient)]
    moving = None if visible is None else visible.view(torch.uint8).numpy()
    kernels.adam_update(*arrays, moving, touched_only, rate, BETA1, BETA2, EPSILON, threads=num_threads())


def _update_by_gsplat(
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    rate: float | Tensor,
    visible: Tensor | None,
    touched_only: bool,
) -> None:
    """One launch, in place; three where every row has a rate of its own."""
    if touched_only:
        touched = (gradient.reshape(len(gradient), -1) != 0).any(dim=1)
        visible = touched if visible is None else touched & visible
    step = partial(adam, gradient=gradient, first=first, second=second, valid=visible)
    if isinstance(rate, Tensor):
        unit = torch.zeros_like(parameter)
        step(unit, rate=1.0, betas=(BETA1, BETA2), epsilon=EPSILON)
        parameter.addcmul_(unit, rate.reshape(-1, *[1] * (parameter.dim() - 1)))
    else:
        step(parameter, rate=rate, betas=(BETA1, BETA2), epsilon=EPSILON)


def _update_by_operators(
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    rate: float | Tensor,
    visible: Tensor | None,
    touched_only: bool,
) -> None:
    """The same on any device, without branches: rows that do not move keep their value and moments."""
    moves = torch.ones(len(parameter), dtype=torch.bool, device=parameter.device) if visible is None else visible
    if touched_only:
        moves = moves & (gradient.reshape(len(parameter), -1) != 0).any(dim=1)
    moves = moves.reshape(-1, *[1] * (parameter.dim() - 1))
    if isinstance(rate, Tensor):
        rate = rate.reshape(moves.shape)
    parameter.sub_(rate * adam_step(first, second, gradient, (BETA1, BETA2), EPSILON, moves))
