"""Which posed views to match a view with: by angle and overlap over all there are, whenever they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.config import StereoConfig

GRID = 9  # points on a side that overlap is counted on


class Posed(Protocol):
    """A view, as far as its partners go by it: `StereoView`, `Keyframe`."""

    intrinsics: Intrinsics
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame


def choose_partners(
    reference: Posed,
    candidates: Sequence[Posed],
    count: int,
    depth_hint: float | None = None,
    config: StereoConfig | None = None,
) -> list[int]:
    """Indices of the best candidates to match `reference` with, best first, at most `count`; maybe none.

    A candidate is worth its overlap (the share of the reference's pixels it sees at the hinted depth) times a
    log-normal preference for the ideal angle between the two lines of sight: narrower loses depth precision to pose
    error, wider loses the likeness of the images. Half of that it may earn for the background, some times as far, which
    takes a wider baseline. They are taken one by one; those near one already taken are worth less, so that partners
    stand on several sides and see past an edge on both (as COLMAP and MVSNet choose, Schoenberger et al., ECCV 2016,
    Yao et al., ECCV 2018).

    Args:
        depth_hint: median depth of the scene in this view, unit of the poses. Without it the nearest candidates are
            taken to be about the ideal angle apart.
    """
    config = config or StereoConfig()
    baselines = np.array(
        [np.linalg.norm(view.world_from_camera[:3, 3] - reference.world_from_camera[:3, 3]) for view in candidates]
    )
    if count < 1 or not baselines.any():
        return []
    nearest = baselines[baselines >= 0.05 * baselines.max()].min()
    depth = depth_hint or float(nearest) / np.tan(np.radians(config.ideal_angle_deg))
    overlap = _overlap(reference, candidates, depth)
    usable = (baselines > 0) & (overlap >= config.min_overlap)
    directions = _lines_of_sight(reference, candidates, depth)
    angle = _angles_deg(directions[1:], directions[0])
    far_directions = _lines_of_sight(reference, candidates, config.background * depth)
    far_angle = _angles_deg(far_directions[1:], far_directions[0])
    worth = usable * overlap * _preference(angle, config)
    far_worth = usable * (angle <= config.max_angle_deg) * _overlap(reference, candidates, config.background * depth)
    far_worth = config.background_weight * far_worth * _preference(far_angle, config)

    chosen: list[int] = []
    least = config.least_worth * float((worth + far_worth).max())
    while len(chosen) < count:
        index = int((worth + far_worth).argmax())
        if worth[index] + far_worth[index] <= least:
            break
        chosen.append(index)
        beside = _angles_deg(directions[1:], directions[1 + index]) / (0.5 * config.ideal_angle_deg)
        left = 1.0 - config.repeated * np.exp(-(beside**2))
        far_left = 1.0 - config.settled if far_worth[index] > worth[index] else 1.0
        worth, far_worth = worth * left, far_worth * left * far_left
        worth[index] = far_worth[index] = 0.0
    return chosen


def _preference(angle_deg: np.ndarray, config: StereoConfig) -> np.ndarray:
    return np.exp(-0.5 * (np.log(np.maximum(angle_deg, 1e-3) / config.ideal_angle_deg) / config.angle_spread) ** 2)


def _angles_deg(directions: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between unit vectors [C, 3] and one [3]."""
    return np.degrees(np.arccos(np.clip(directions @ other, -1.0, 1.0)))


def _lines_of_sight(reference: Posed, candidates: Sequence[Posed], depth: float) -> np.ndarray:
    """Unit vectors [1 + C, 3] from the point at `depth` on the reference's optical axis to the reference, and to each
    candidate.
    """
    pose = reference.world_from_camera
    places = np.stack([pose[:3, 3], *(view.world_from_camera[:3, 3] for view in candidates)])
    towards = places - (pose[:3, 3] + depth * pose[:3, 2])
    return towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)


def _overlap(reference: Posed, candidates: Sequence[Posed], depth: float) -> np.ndarray:
    """Share [C] of the reference's pixels that each candidate sees, all of them at one depth."""
    k = reference.intrinsics
    u, v = np.meshgrid(np.linspace(0, k.width - 1, GRID), np.linspace(0, k.height - 1, GRID))
    points = np.stack(((u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones_like(u), np.full_like(u, 1.0 / depth)))
    candidate_from_world = np.linalg.inv(np.stack([view.world_from_camera for view in candidates]))
    projected = candidate_from_world @ (reference.world_from_camera @ points.reshape(4, -1))
    x, y, z = np.moveaxis(projected[:, :3], 1, 0)
    cameras = [view.intrinsics for view in candidates]
    size = np.array([(camera.width, camera.height) for camera in cameras])[..., None]
    focal = np.array([(camera.fx, camera.fy) for camera in cameras])[..., None]
    center = np.array([(camera.cx, camera.cy) for camera in cameras])[..., None]
    pixels = focal * np.stack((x, y), axis=1) / np.maximum(z, 1e-9)[:, None] + center  # [C, 2, points]
    inside = (z > 0) & ((pixels > 0) & (pixels < size - 1)).all(axis=1)
    return inside.mean(axis=1)
