"""Views of a scene of things: colour with soft shadows, exact depth and ids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from make_recording.changes.solids import Solid

SAMPLES = 2  # per pixel and axis
_FAR = 1e9


@dataclass(frozen=True)
class Thing:
    """An instance: its solids, in its own coordinates, and where it stands."""

    id: int
    name: str
    kind: str  # object | background
    solids: tuple[Solid, ...]
    world_from_thing: np.ndarray  # [4, 4]
    phase: float = 0.0  # of its paint: a screen that plays


@dataclass(frozen=True)
class Light:
    """A lamp's direction and what reaches every place."""

    towards: tuple[float, float, float] = (0.45, -0.35, 0.85)
    strength: float = 0.62
    ambient: float = 0.42
    spread: float = 0.08  # of its direction: softness of shadows
    samples: int = 1  # per ray: every pixel has several


@dataclass(frozen=True)
class View:
    """One picture with its truth."""

    image: np.ndarray  # [H, W, 3] uint8
    depth: np.ndarray  # [H, W] float32, metres along z
    ids: np.ndarray  # [H, W] int32


@dataclass(frozen=True)
class Camera:
    """Pinhole, the first pixel's centre at (0, 0)."""

    width: int
    height: int
    focal: float
    world_from_camera: np.ndarray = field(default_factory=lambda: np.eye(4))

    def rays(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[P, 3] in the world, of length 1 along the camera's z."""
        cx, cy = (self.width - 1) / 2, (self.height - 1) / 2
        local = np.stack([(columns - cx) / self.focal, (rows - cy) / self.focal, np.ones_like(columns)], axis=1)
        return local @ self.world_from_camera[:3, :3].T


def cast(things: list[Thing], camera: Camera, light: Light, rng: np.random.Generator) -> View:
    """A view; depth and ids are of the pixels' centres."""
    rows, columns = (each.ravel().astype(float) for each in np.mgrid[: camera.height, : camera.width])
    shape = (camera.height, camera.width)
    origin = camera.world_from_camera[:3, 3]
    depth, owner, _, _ = _first_hits(things, origin[None], camera.rays(columns, rows))
    ids = np.array([thing.id for thing in things])[owner]
    image = np.zeros((len(rows), 3))
    offsets = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    for dy in offsets:
        for dx in offsets:
            image += _shaded(things, origin, camera.rays(columns + dx, rows + dy), light, rng)
    image = image / SAMPLES**2 + rng.normal(0, 0.004, image.shape)
    image = (255 * np.clip(image, 0, 1) ** (1 / 1.6)).round().astype(np.uint8)
    return View(image.reshape(*shape, 3), depth.reshape(shape).astype(np.float32), ids.reshape(shape).astype(np.int32))


def _shaded(
    things: list[Thing], origin: np.ndarray, rays: np.ndarray, light: Light, rng: np.random.Generator
) -> np.ndarray:
    distance, owner, solid, normal = _first_hits(things, origin[None], rays)
    points = origin + distance[:, None] * rays
    color = np.zeros((len(rays), 3))
    for t, thing in enumerate(things):
        for s, part in enumerate(thing.solids):
            mine = (owner == t) & (solid == s)
            if mine.any():
                turn, shift = thing.world_from_thing[:3, :3], thing.world_from_thing[:3, 3]
                color[mine] = part.paint.at((points[mine] - shift) @ turn - np.array(part.center), thing.phase)
    lit = np.zeros(len(rays))
    for _ in range(light.samples):
        towards = np.array(light.towards) + light.spread * rng.standard_normal(3)
        towards /= np.linalg.norm(towards)
        facing = np.clip(normal @ towards, 0, None)
        bright = np.flatnonzero(facing > 0)
        start = points[bright] + 2e-3 * normal[bright]
        free = _first_hits(things[1:], start, np.broadcast_to(towards, start.shape))[0] >= _FAR
        lit[bright] += facing[bright] * free / light.samples
    sky = light.ambient * (0.75 + 0.25 * normal[:, 2])
    return color * (sky + light.strength * lit)[:, None]


def _first_hits(things: list[Thing], origins: np.ndarray, rays: np.ndarray):
    """Ray lengths [P], index of the thing and of its solid [P], world normals [P, 3]."""
    best, owner, solid = np.full(len(rays), _FAR), np.zeros(len(rays), int), np.zeros(len(rays), int)
    normals = np.zeros((len(rays), 3))
    for t, thing in enumerate(things):
        turn, shift = thing.world_from_thing[:3, :3], thing.world_from_thing[:3, 3]
        local_origins = np.broadcast_to((origins - shift) @ turn, rays.shape)
        local_rays = rays @ turn
        near = _may_meet(thing, local_origins, local_rays)
        for s, part in enumerate(thing.solids):
            distance, normal = part.meet(local_origins[near], local_rays[near])
            rows = near[distance < best[near]]
            chosen = distance < best[near]
            best[rows], owner[rows], solid[rows] = distance[chosen], t, s
            normals[rows] = normal[chosen] @ turn.T
    return best, owner, solid, normals


def _may_meet(thing: Thing, origins: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Rays that pass the sphere around a thing."""
    reach = max(float(np.linalg.norm(part.center) + np.linalg.norm(part.half)) for part in thing.solids)
    along = -(origins * rays).sum(1) / (rays * rays).sum(1)
    nearest = origins + along[:, None] * rays
    return np.flatnonzero((nearest * nearest).sum(1) <= reach * reach)
