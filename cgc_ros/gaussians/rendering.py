"""A map's Gaussians in a view: what a model holds, handed to the rasteriser."""

from __future__ import annotations

import torch

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.rendering import Camera, Render, rasterize


@torch.no_grad()
def render_model(
    model: GaussianModel,
    camera: Camera,
    backend: str,
    *,
    color: bool = False,
    features: bool = False,
    depth: bool = False,
) -> Render:
    """Render a map as it is, without gradients; what is not asked for costs nothing.

    Args:
        camera: on the model's device.
        color: with the model's background behind everything.
        features: [H, W, 16], blended and not normalised.
        depth: expected depth, metres.
    """
    return rasterize(
        *model.geometry,
        camera,
        colors=model.sh.detach() if color else None,
        sh_degree=model.sh_degree if color else None,
        background=model.background if color else None,
        features=model.features.detach() if features else None,
        depth=depth,
        backend=backend,
    )
