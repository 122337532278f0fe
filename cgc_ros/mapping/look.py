"""A quick look at the map from a new frame's pose: what the frame would add."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cgc_ros.frame import Frame
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.config import KeyframeConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.rendering import Camera


@dataclass(frozen=True)
class Look:
    """What the map has to show in a frame's view."""

    unexplained: float  # share of the view that the map does not cover; ignored pixels are no part of either
    median_depth: float  # metres, of what it covers; 0 where nothing is


def look_at(model: GaussianModel, frame: Frame | Keyframe, config: KeyframeConfig, backend: str) -> Look:
    """Render the map, small, from the pose of a frame or keyframe."""
    if len(model) == 0:
        return Look(1.0, 0.0)
    camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera, model.device)
    camera = camera.scaled_to(config.look_width, max(1, round(camera.height * config.look_width / camera.width)))
    render = render_model(model, camera, backend, depth=True)
    alpha, depth = render.alpha, render.depth
    if frame.ignore is not None:
        world = ~touched_resized(frame.ignore, camera.width, camera.height)
        if not world.any():
            return Look(0.0, 0.0)
        rows = torch.from_numpy(world).to(alpha.device)
        alpha, depth = alpha[rows], depth[rows]
    covered = alpha > config.empty_alpha
    depths = depth[covered]
    return Look(1.0 - float(covered.float().mean()), float(depths.median()) if len(depths) else 0.0)
