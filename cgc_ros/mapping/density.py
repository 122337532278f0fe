"""Removing Gaussians: those that do nothing, and the least important ones where the cap leaves no room for new ones."""

from __future__ import annotations

import torch

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


def make_room(model: GaussianModel, config: DensityConfig, step: int, wanted: int) -> int:
    """Free up to `wanted` rows, at most `make_room` of the cap, by removing the aged Gaussians that contribute
    least.
    """
    aged = (model.born_step <= step - config.min_age).nonzero().squeeze(1)
    count = min(wanted, int(config.make_room * config.max_gaussians), len(aged))
    if count <= 0:
        return 0
    least = aged[model.importance[aged].argsort()[:count]]
    keep = torch.ones(len(model), dtype=torch.bool, device=model.device)
    keep[least] = False
    model.keep(keep)
    return count
