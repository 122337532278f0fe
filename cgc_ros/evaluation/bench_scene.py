"""A synthetic scene like those that a robot maps: what rasteriser benchmarks render."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from cgc_ros.rendering import Camera

NUM_OBJECTS = 12
NUM_FEATURES = 16


@dataclass(frozen=True)
class BenchScene:
    """Gaussians on a table, a wall and twelve things on the table. Object ids: 0 table, 1 wall, 2.. things."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [N, 3]
    features: Tensor  # [N, 16]
    object_ids: Tensor  # [N] int32

    @property
    def gaussians(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What every rendering call begins with: means, quats, scales, opacities."""
        return self.means, self.quats, self.scales, self.opacities

    def to(self, device: str) -> BenchScene:
        """The same scene on another device."""
        return BenchScene(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def make_scene(num_gaussians: int, seed: int = 0) -> BenchScene:
    """85% flat Gaussians on surfaces and 15% blobs near them, sizes following the density of each surface, so that the
    number of Gaussians a pixel blends hardly depends on `num_gaussians`. About a quarter lies outside the view."""
    rng = np.random.default_rng(seed)
    surfaces = [_plane((0, 0, 0), (2.0, 0, 0), (0, 1.4, 0)), _plane((0, 0.7, 0.5), (2.6, 0, 0), (0, 0, 1.2))]
    for index in range(NUM_OBJECTS):
        centre = (-0.75 + 0.5 * (index % 4), -0.45 + 0.4 * (index // 4), 0.0)
        surfaces.append(
            _box(centre, rng.uniform(0.08, 0.16, 3)) if index % 2 else _ball(centre, rng.uniform(0.07, 0.13))
        )
    areas = np.array([area for _, area in surfaces])
    weights = areas.copy()
    weights[2:] *= 3.0  # things get more detail than table and wall
    counts = rng.multinomial(num_gaussians, weights / weights.sum())

    parts = []
    for index, ((sample, area), count) in enumerate(zip(surfaces, counts, strict=True)):
        if count == 0:
            continue
        points, normals = sample(rng, count)
        spacing = math.sqrt(area / count)
        blob = rng.random(count) < 0.15
        scales = spacing * 0.88 * np.exp(rng.normal(0.0, 0.35, (count, 3)))
        scales[~blob, 2] *= 0.05
        points = points + normals * np.where(blob, rng.normal(0.0, 0.01, count), 0.0)[:, None]
        hue = rng.random(3)
        colors = np.clip(hue + rng.normal(0.0, 0.15, (count, 3)), 0.0, 1.0)
        features = rng.normal(0.0, 1.0, NUM_FEATURES) + rng.normal(0.0, 0.2, (count, NUM_FEATURES))
        opacities = rng.beta(1.3, 1.9, count) * 0.98 + 0.01
        parts.append((points, _quats_facing(normals, rng), scales, opacities, colors, features, np.full(count, index)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = rng.permutation(num_gaussians)  # a map grown online has no order in space
    tensors = [torch.as_tensor(column[order], dtype=torch.float32).contiguous() for column in columns]
    names = (field.name for field in fields(BenchScene))
    columns_by_name = dict(zip(names, tensors, strict=True))
    return BenchScene(**columns_by_name | {"object_ids": tensors[-1].to(torch.int32)})


def make_camera(width: int, height: int, device: str = "cpu", yaw: float = 0.0) -> Camera:
    """Looks at the table from 1.5 m, slightly from above, with a field of view of 58 degrees."""
    eye = np.array([1.35 * math.sin(yaw), -1.35 * math.cos(yaw), 0.75])
    forward = np.array([0.0, 0.1, 0.1]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = rotation, -rotation @ eye
    focal = 0.9 * width
    pose = torch.as_tensor(camera_from_world, dtype=torch.float32, device=device)
    return Camera(width, height, focal, focal, width / 2, height / 2, pose)


def _plane(centre, u, v):
    """A parallelogram with edges u and v."""
    centre, u, v = np.array(centre), np.array(u), np.array(v)
    normal = np.cross(u, v)
    area = np.linalg.norm(normal)

    def sample(rng, count):
        points = centre + (rng.random((count, 1)) - 0.5) * u + (rng.random((count, 1)) - 0.5) * v
        return points, np.tile(normal / area, (count, 1))

    return sample, area


def _ball(foot, radius):
    def sample(rng, count):
        normals = rng.normal(size=(count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return np.array(foot) + [0, 0, radius] + radius * normals, normals

    return sample, 4 * math.pi * radius**2


def _box(foot, size):
    """An upright box that stands on `foot`; no bottom."""
    sx, sy, sz = size
    faces = [
        _plane((0, 0, sz), (sx, 0, 0), (0, sy, 0)),
        _plane((0, -sy / 2, sz / 2), (sx, 0, 0), (0, 0, sz)),
        _plane((0, sy / 2, sz / 2), (0, 0, sz), (sx, 0, 0)),
        _plane((-sx / 2, 0, sz / 2), (0, 0, sz), (0, sy, 0)),
        _plane((sx / 2, 0, sz / 2), (0, sy, 0), (0, 0, sz)),
    ]
    areas = np.array([area for _, area in faces])

    def sample(rng, count):
        counts = rng.multinomial(count, areas / areas.sum())
        drawn = [face(rng, n) for (face, _), n in zip(faces, counts, strict=True)]
        points, normals = (np.concatenate(part) for part in zip(*drawn, strict=True))
        return np.array(foot) + points, normals

    return sample, areas.sum()


def _quats_facing(normals, rng):
    """Quaternions w x y z that turn the z axis to the normals, with a random turn about them."""
    z = np.array([0.0, 0.0, 1.0])
    w = 1.0 + normals @ z
    xyz = np.cross(np.broadcast_to(z, normals.shape), normals)
    quats = np.concatenate([w[:, None], xyz], axis=1)
    quats[w < 1e-6] = (0.0, 1.0, 0.0, 0.0)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    half = rng.uniform(0.0, math.pi, len(normals))
    spin_w, spin_z = np.cos(half), np.sin(half)
    w, x, y, zz = quats.T
    return np.stack(
        [w * spin_w - zz * spin_z, x * spin_w + y * spin_z, y * spin_w - x * spin_z, zz * spin_w + w * spin_z], axis=1
    )
