"""The points an offline run starts from: a sparse sample of the cameras' depth, in place of structure from motion's."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree

from cgc_ros.gaussians.model import GaussianSeeds
from cgc_ros.mapping.config import KeyframeConfig, PaperConfig, TrainingConfig
from cgc_ros.mapping.depth_source import DepthSource
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.seeding import backproject

NEIGHBOURS = 3  # nearest points whose mean squared distance is a new Gaussian's variance, as in 3DGS
STEREO_WINDOW = 12  # keyframes before and after one that stereo may match it with


def initial_gaussians(
    keyframes: list[Keyframe], config: PaperConfig, stereo: DepthSource, rng: np.random.Generator
) -> GaussianSeeds:
    """About `initial_points` round Gaussians at random pixels with depth, each keyframe giving the same number.

    Depth is the cameras' own where any keyframe has some, else what `stereo` finds. Empty without either.
    """
    measured = [(each, depth) for each in keyframes if (depth := each.world_depth()) is not None]
    sources = measured or stereo_depths(keyframes, config.stereo_views, stereo)
    share = math.ceil(config.initial_points / max(len(sources), 1))
    clouds = [_draw(keyframe, depth.astype(np.float32), share, rng) for keyframe, depth in sources]
    points = np.concatenate([points for points, _ in clouds] or [np.zeros((0, 3), np.float32)])
    colors = np.concatenate([colors for _, colors in clouds] or [np.zeros((0, 3), np.float32)])
    if len(points) <= NEIGHBOURS:
        points, colors = points[:0], colors[:0]
    quats = torch.zeros(len(points), 4)
    quats[:, 0] = 1.0
    return GaussianSeeds(
        torch.from_numpy(points),
        quats,
        torch.from_numpy(neighbour_distances(points))[:, None].repeat(1, 3),
        torch.full((len(points),), config.initial_opacity),
        torch.from_numpy(colors),
    )


def neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Root mean square distance of each point [P, 3] to its three nearest neighbours, [P] float32."""
    if len(points) == 0:
        return np.zeros(0, np.float32)
    distances = cKDTree(points).query(points, k=NEIGHBOURS + 1)[0][:, 1:]
    return np.sqrt(np.maximum((distances**2).mean(axis=1), 1e-7)).astype(np.float32)


def stereo_depths(keyframes: list[Keyframe], count: int, stereo: DepthSource) -> list[tuple[Keyframe, np.ndarray]]:
    """Stereo depth ([H, W] float32, metres, 0 = none) of up to `count` keyframes, spread evenly over the recording."""
    found = []
    for place in np.unique(np.linspace(0, len(keyframes) - 1, min(count, len(keyframes))).round().astype(int)):
        reference = keyframes[place]
        window = KeyframeStore(KeyframeConfig(), TrainingConfig())
        window.keyframes = {
            other.id: other for other in keyframes[max(0, place - STEREO_WINDOW) : place + STEREO_WINDOW + 1]
        }
        result = stereo.match(reference, window)
        if result is not None:
            found.append((reference, result.depth.cpu().numpy()))
    return found


def _draw(keyframe: Keyframe, depth: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] in the map frame and colours [P, 3] 0..1, float32, of at most `count` random pixels with depth."""
    valid = np.flatnonzero(depth > 0)
    pixels = rng.choice(valid, min(count, len(valid)), replace=False)
    points = backproject(depth, keyframe.intrinsics).reshape(-1, 3)[pixels]
    world_from_camera = keyframe.world_from_camera
    points = points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]
    return points.astype(np.float32), (keyframe.image.reshape(-1, 3)[pixels] / 255.0).astype(np.float32)
