"""Adaptive density control of 3D Gaussian Splatting: where the image asks for more, Gaussians are cloned or split.

Kerbl, Kopanas, Leimkuehler, Drettakis, 3D Gaussian Splatting for Real-Time Radiance Field Rendering (2023), section
5.2, as the paper's recipe runs it offline. The incremental mapper has rules of its own (density.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping.config import PaperConfig
from cgc_ros.rendering.quaternions import rotation_matrices

SPLIT_CHILDREN = 2
SPLIT_SHRINK = 1.6  # a child's standard deviations are its parent's divided by this


@dataclass(frozen=True)
class DensityChange:
    """What one round did."""

    cloned: int
    split: int
    pruned: int


class ScreenGradients:
    """Mean length of the loss gradient at every Gaussian's projected centre, over the views that saw it."""

    def __init__(self, model: GaussianModel):
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Start anew; must follow every change of the model's rows."""
        self.sums = torch.zeros(len(self.model), device=self.model.device)
        self.views = torch.zeros(len(self.model), device=self.model.device)

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device."""
        self.sums, self.views = self.sums.to(device), self.views.to(device)

    def add(self, gradient: Tensor, visible: Tensor, width: int, height: int) -> None:
        """Take in one view: `gradient` [N, 2] in loss per pixel, `visible` [N] bool, the image's size in pixels.

        The published threshold is for normalised device coordinates, in which the image is 2 wide and 2 high.
        """
        per_ndc = gradient * gradient.new_tensor([width / 2, height / 2])
        self.sums += torch.where(visible, per_ndc.norm(dim=1), 0.0)
        self.views += visible

    def mean(self) -> Tensor:
        """[N]; 0 for Gaussians that no view has seen."""
        return self.sums / self.views.clamp_min(1)


def choose_growth(
    gradients: Tensor,  # [N] from ScreenGradients
    scales: Tensor,  # [N, 3] metres
    extent: float,  # metres, scene_extent of the cameras
    room: int,  # Gaussians that may be added
    config: PaperConfig,
) -> tuple[Tensor, Tensor]:
    """Masks [N] bool of the Gaussians to clone (small) and to split (large).

    Where the cap leaves less room than is asked for, the strongest gradients have it: both ways add one Gaussian.
    """
    grow = gradients >= config.screen_gradient
    if int(grow.sum()) > room:
        strongest = torch.where(grow, gradients, -1.0).topk(max(room, 0)).indices
        grow = torch.zeros_like(grow)
        grow[strongest] = True
    large = scales.amax(dim=1) > config.clone_size * extent
    return grow & ~large, grow & large


def adapt_density(
    model: GaussianModel,
    gradients: ScreenGradients,
    config: PaperConfig,
    *,
    extent: float,  # metres
    cap: int,  # Gaussians
    step: int,
    prune_large: bool,  # published: from the first opacity reset on
    generator: torch.Generator,  # CPU
) -> DensityChange:
    """One round: clone, split, then remove what is nearly transparent, too large or not finite."""
    clone, split = choose_growth(gradients.mean(), model.scales.detach(), extent, cap - len(model), config)
    cloned, parents = int(clone.sum()), int(split.sum())
    rows = {name: value.detach() for name, value in model.parameters.items()}
    clones = {name: value[clone] for name, value in rows.items()}
    children = split_rows({name: value[split] for name, value in rows.items()}, generator)
    _append(model, {name: torch.cat([clones[name], children[name]]) for name in rows}, step)

    replaced = torch.cat([split, split.new_zeros(cloned + SPLIT_CHILDREN * parents)])
    remove = useless(model, config, extent, prune_large)
    model.keep(~(replaced | remove))
    gradients.clear()
    return DensityChange(cloned, parents, int((remove & ~replaced).sum()))


def split_rows(rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Two smaller children for every Gaussian of `rows` (raw parameters), drawn from its own distribution.

    The first children of all come first, then the second ones.
    """
    children = {name: torch.cat([value] * SPLIT_CHILDREN) for name, value in rows.items()}
    scales = children["log_scales"].exp()
    noise = torch.randn(scales.shape, generator=generator).to(scales.device)
    offsets = rotation_matrices(children["quats"]) @ (noise * scales)[:, :, None]
    children["means"] = children["means"] + offsets.squeeze(2)
    children["log_scales"] = (scales / SPLIT_SHRINK).log()
    return children


def useless(model: GaussianModel, config: PaperConfig, extent: float, prune_large: bool) -> Tensor:
    """Mask [N] bool of the Gaussians that are nearly transparent, too large, or that training made non-finite."""
    means, log_scales = model.means.detach(), model.parameters["log_scales"].detach()
    remove = model.opacities.detach() < config.min_opacity
    if prune_large:
        remove |= log_scales.exp().amax(dim=1) > config.max_size * extent
    return remove | ~(torch.isfinite(means).all(dim=1) & torch.isfinite(log_scales).all(dim=1))


def reset_opacities(model: GaussianModel, ceiling: float) -> None:
    """Bring every opacity down to at most `ceiling`, and forget how fast it was changing."""
    limit = torch.logit(torch.tensor(ceiling)).item()
    model.parameters["logit_opacities"].clamp_(max=limit)
    for moment in model.moments["logit_opacities"]:
        moment.zero_()


def scene_extent(positions: Tensor) -> float:
    """1.1 times the farthest camera's distance from the cameras' centre ([K, 3], metres): 3DGS's unit of size."""
    return 1.1 * float((positions - positions.mean(dim=0)).norm(dim=1).max())


def _append(model: GaussianModel, rows: dict[str, Tensor], step: int) -> None:
    """Add rows that bring their raw parameters, features included; the optimiser knows nothing of them yet."""
    count = len(rows["means"])
    if count == 0:
        return
    opacities = torch.sigmoid(rows["logit_opacities"])
    seeds = GaussianSeeds(rows["means"], rows["quats"], rows["log_scales"].exp(), opacities, rows["sh"][:, 0])
    model.append(seeds, step)
    for name, value in rows.items():
        model.parameters[name][-count:] = value
