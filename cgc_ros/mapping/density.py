"""Removing Gaussians: those that do nothing, and those that contribute least where there are too many."""

from __future__ import annotations

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.config import DensityConfig


def prune(model: GaussianModel, config: DensityConfig, step: int, scene_depth: float) -> int:
    """Remove Gaussians that are nearly transparent or far too large, and any that training made non-finite; how
    many.
    """
    aged = model.born_step <= step - config.min_age
    faint = model.opacities.detach() < config.min_opacity
    huge = model.scales.detach().amax(dim=1) > config.max_radius * scene_depth
    finite = torch.isfinite(model.means).all(dim=1) & torch.isfinite(model.parameters["log_scales"]).all(dim=1)
    remove = (aged & (faint | huge)) | ~finite
    if remove.any():
        model.keep(~remove)
    return int(remove.sum())


def least_contributing(values: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The `count` of the rows `candidates` ([C] int64) whose contribution ([N], of all rows) is least."""
    return candidates[values[candidates].argsort(stable=True)[:count]]


def remove_rows(model: GaussianModel, rows: Tensor) -> None:
    """Remove Gaussians by row ([R] int64)."""
    keep = torch.ones(len(model), dtype=torch.bool, device=model.device)
    keep[rows] = False
    model.keep(keep)
