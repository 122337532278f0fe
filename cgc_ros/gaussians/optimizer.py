"""Adam over the rows of a GaussianModel, with a learning rate per parameter and, optionally, per Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-15


class GaussianAdam:
    """Adam (Kingma and Ba 2015) whose moments live in the model and so follow every change of its rows.

    Only rows with a gradient in this step move (`visible`): a Gaussian outside the view keeps still instead of drifting on
    its old momentum, and the step costs what is seen, not what is stored.
    """

    def __init__(self, model: GaussianModel):
        self.model = model

    def step(self, gradients: dict[str, Tensor], rates: dict[str, float], visible: Tensor | None = None) -> None:
        """Move every parameter in `gradients` ([N, ...] each) by its rate; `visible` [N] bool limits the rows."""
        with torch.no_grad():
            rows = None if visible is None else visible.nonzero().squeeze(1)
            for name, gradient in gradients.items():
                self._update(name, gradient, rates[name], rows)

    def _update(self, name: str, gradient: Tensor, rate: float, rows: Tensor | None) -> None:
        parameter = self.model.parameters[name].detach()
        first, second = self.model.moments[name]
        if rows is not None:
            gradient = gradient.index_select(0, rows)
            m = first.index_select(0, rows).lerp_(gradient, 1 - BETA1)
            v = second.index_select(0, rows).mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            first.index_copy_(0, rows, m)
            second.index_copy_(0, rows, v)
            parameter.index_add_(0, rows, m / v.sqrt_().add_(EPSILON), alpha=-rate)
        else:
            first.lerp_(gradient, 1 - BETA1)
            second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            parameter.addcdiv_(first, second.sqrt().add_(EPSILON), value=-rate)
