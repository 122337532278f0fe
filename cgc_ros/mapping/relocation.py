"""Whether something new is an object that stood elsewhere before, and how it was moved: clouds are registered from many
rotations, by shape and colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cgc_ros.mapping.change_config import RelocationConfig

_YAWS = 12
_COARSE_POINTS, _FINE_POINTS = 150, 1500
_SMOOTHED_OVER = 9  # points
_REFINED = 8  # of the rotations
_UPRIGHT = 0.04  # of the score: things are rather turned than tumbled
_ROUNDS = ((3.0, 10), (1.5, 10), (0.8, 10), (0.5, 10))  # reach in tolerances, steps


@dataclass(frozen=True)
class ColoredCloud:
    """Points of an object's surface."""

    points: np.ndarray  # [P, 3] metres
    colors: np.ndarray  # [P, 3] 0..1


@dataclass(frozen=True)
class Relocation:
    """How well an object fits something new."""

    transform: np.ndarray  # [4, 4] new from old place
    fitness: float  # share of the new cloud that lies on the old one, moved
    color: float  # mean difference of their colours there, 0..1
    score: float


def relocations(
    old: ColoredCloud, new: ColoredCloud, up: np.ndarray, scene_depth: float, config: RelocationConfig
) -> list[Relocation]:
    """Rigid motions that may have taken `old` to `new`, the best first; none where the shapes do not fit.

    `new` may be seen from one side only: what counts is that all of it lies on `old`. `up` [3] is the vertical; what
    was tipped over costs a little.
    """
    if len(old.points) < 20 or len(new.points) < 20:
        return []
    lengths = [float(np.linalg.norm(np.ptp(each.points @ _axes(up), axis=0))) for each in (old, new)]
    if lengths[1] > config.max_size_ratio * lengths[0] or lengths[0] > 2 * config.max_size_ratio * lengths[1]:
        return []
    tolerance = config.tolerance * scene_depth
    old, new = _smoothed(old), _smoothed(new)
    source, target = _thinned(new, _COARSE_POINTS), _thinned(old, _FINE_POINTS)
    tree, middle = cKDTree(target.points), _middle(old.points)
    guesses: list[tuple[float, int, np.ndarray, float]] = []
    for turn, cost in _rotations(up):
        start = _about(turn.T, _middle(source.points), middle)  # old from new
        score = _rate(start, source, target, tree, 2 * tolerance, config)[2] - cost
        guesses.append((score, len(guesses), start, cost))
    fine = _thinned(new, _FINE_POINTS)
    found: list[Relocation] = []
    for _, _, start, cost in sorted(guesses, reverse=True)[:_REFINED]:
        pose = start
        for reach, steps in _ROUNDS:
            pose = _icp(pose, fine.points, target.points, tree, reach * tolerance, steps)
        fitness, color, score = _rate(pose, fine, target, tree, tolerance, config)
        if fitness < config.min_fitness or color > config.max_color:
            continue
        if not any(_are_alike(pose, np.linalg.inv(each.transform), middle, tolerance) for each in found):
            found.append(Relocation(np.linalg.inv(pose), fitness, color, score - cost))
    return sorted(found, key=lambda each: -each.score)


def _are_alike(one: np.ndarray, other: np.ndarray, middle: np.ndarray, tolerance: float) -> bool:
    turned = np.trace(one[:3, :3].T @ other[:3, :3])
    back = np.linalg.inv(other) @ np.append(middle, 1.0)
    return bool(turned > 2.98 and np.linalg.norm((one @ back)[:3] - middle) < 0.5 * tolerance)


def _rate(
    pose: np.ndarray,
    source: ColoredCloud,
    target: ColoredCloud,
    tree: cKDTree,
    reach: float,
    config: RelocationConfig,
) -> tuple[float, float, float]:
    """Share of source points that lie on the target, their mean difference of colour, and both in one number."""
    distances, nearest = tree.query(_moved(pose, source.points), distance_upper_bound=reach)
    near = np.isfinite(distances)
    if near.sum() < 5:
        return 0.0, 1.0, 0.0
    color = float(np.abs(source.colors[near] - target.colors[nearest[near]]).mean())
    closeness = float((1 - (distances[near] / reach) ** 2).sum() / len(near))
    return float(near.mean()), color, closeness * max(0.0, 1 - color / (2 * config.max_color))


def _icp(pose: np.ndarray, source: np.ndarray, target: np.ndarray, tree: cKDTree, reach: float, steps: int):
    """Iterative closest points (Besl and McKay 1992), rigid, within a reach, from either cloud to the other: a face
    that lies on a larger one would slide.
    """
    for _ in range(steps):
        moved = _moved(pose, source)
        distances, nearest = tree.query(moved, distance_upper_bound=reach)
        back, behind = cKDTree(moved).query(target, distance_upper_bound=reach)
        near, there = np.isfinite(distances), np.isfinite(back)
        if near.sum() < 8:
            return pose
        ours = np.concatenate([moved[near], moved[behind[there]]])
        update = _fitted(ours, np.concatenate([target[nearest[near]], target[there]]))
        pose = update @ pose
        if np.linalg.norm(update[:3, 3]) < 1e-3 * reach and np.abs(update[:3, :3] - np.eye(3)).max() < 1e-4:
            break
    return pose


def _fitted(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rigid transform of least squares between pairs of points (Kabsch 1976), [4, 4]."""
    from_middle, to_middle = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((source - from_middle).T @ (target - to_middle))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    return _about(vt.T @ flip @ u.T, from_middle, to_middle)


def _about(turn: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The transform that turns about `source` and takes it to `target`."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, target - turn @ source
    return pose


def _rotations(up: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """New from old: turns about the vertical, and those of what was tipped over, with what they cost in score."""
    axes = _axes(up)
    found, upward = [], set()
    for tip in Rotation.create_group("O").as_matrix():
        if (side := tuple(tip[2].round().astype(int))) in upward:
            continue  # the same side up as another one, turned about the vertical
        upward.add(side)
        for k in range(_YAWS):
            yaw = Rotation.from_euler("z", 2 * np.pi * k / _YAWS).as_matrix()
            found.append((axes @ yaw @ tip @ axes.T, 0.0 if tip[2, 2] > 0.9 else _UPRIGHT))
    return found


def _axes(up: np.ndarray) -> np.ndarray:
    """[3, 3] right-handed axes as columns, the third along `up`."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    first = np.cross(helper, up)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up], axis=1)


def _smoothed(cloud: ColoredCloud) -> ColoredCloud:
    """Every point in the mean colour of its neighbours: fine texture is never sampled twice alike."""
    thin = _thinned(cloud, 2 * _FINE_POINTS)
    _, nearest = cKDTree(thin.points).query(thin.points, k=min(_SMOOTHED_OVER, len(thin.points)))
    return ColoredCloud(thin.points, thin.colors[nearest].mean(axis=1))


def _thinned(cloud: ColoredCloud, count: int) -> ColoredCloud:
    if len(cloud.points) <= count:
        return cloud
    rows = np.random.default_rng(0).choice(len(cloud.points), count, replace=False)
    return ColoredCloud(cloud.points[rows], cloud.colors[rows])


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _moved(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ pose[:3, :3].T + pose[:3, 3]
