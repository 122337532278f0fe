"""A small ray-cast scene with exact depth, instances and poses: for `cgc bench pipeline`, and for tests.

Boxes and spheres, textured by sums of sines, stand on a floor inside a large box of a room; the camera walks an arc
around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import FrameInfo, Sequence, hold_out_every_eighth

_FLOOR_ID, _ROOM_ID = 1, 2
_FIRST_OBJECT_ID = 3
_ROOM_HALF = 2.5  # metres


@dataclass(frozen=True)
class Solid:
    """A box or sphere standing on the floor (z up)."""

    center: tuple[float, float, float]  # metres
    half: tuple[float, float, float]  # half sizes, metres; a sphere's radius is the first
    color: tuple[float, float, float]  # 0..1
    sphere: bool = False


SOLIDS = (
    Solid((-0.30, 0.00, 0.10), (0.09, 0.07, 0.10), (0.85, 0.25, 0.20)),
    Solid((0.00, 0.12, 0.12), (0.12, 0.12, 0.12), (0.20, 0.55, 0.85), sphere=True),
    Solid((0.28, -0.05, 0.07), (0.07, 0.10, 0.07), (0.95, 0.80, 0.25)),
    Solid((0.02, -0.25, 0.06), (0.06, 0.06, 0.06), (0.35, 0.75, 0.35), sphere=True),
)


class SyntheticSequence(Sequence):
    """The scene as a recording with depth, masks (ids shuffled per frame) and truth. Frames are ray-cast on demand."""

    def __init__(self, num_frames: int = 24, width: int = 160, height: int = 120, rate_hz: float = 5.0):
        intrinsics = Intrinsics(width, height, 0.9 * width, 0.9 * width, (width - 1) / 2, (height - 1) / 2)
        frames = [
            FrameInfo(
                f"{index:04d}",
                1_000_000_000 + round(index * 1e9 / rate_hz),
                _pose(index / max(1, num_frames - 1)),
                intrinsics,
                False,
            )
            for index in range(num_frames)
        ]
        super().__init__(
            "synthetic",
            hold_out_every_eighth(frames),
            has_depth=True,
            has_masks=True,
            metric_scale=True,
            labels=_labels(),
            object_points={_FIRST_OBJECT_ID + index: _surface_points(solid) for index, solid in enumerate(SOLIDS)},
        )
        self._views: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def prepare(self) -> None:
        """Ray-cast every frame now."""
        for index in range(len(self)):
            self._view(index)

    def load_image(self, index: int) -> np.ndarray:
        return self._view(index)[0]

    def load_depth(self, index: int) -> np.ndarray:
        return self._view(index)[1]

    def load_masks(self, index: int) -> np.ndarray:
        return _shuffled(self._view(index)[2], seed=index)

    def load_instances(self, index: int) -> np.ndarray:
        return self._view(index)[2]

    def _view(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if index not in self._views:
            self._views[index] = ray_cast(self.frames[index].intrinsics, self.frames[index].world_from_camera)
        return self._views[index]


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """World from camera, [4, 4], of an optical frame at `position` (x right, y down, z forward) facing `target`."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, position
    return pose


def ray_cast(intrinsics: Intrinsics, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One view of the scene: image [H, W, 3] uint8, depth along z [H, W] float32 metres, ids [H, W] int32."""
    u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    rays = np.stack(
        [(u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy, np.ones_like(u, float)], axis=-1
    )
    rays = rays.reshape(-1, 3) @ world_from_camera[:3, :3].T  # of length 1 along z: the ray parameter is the depth
    origin = world_from_camera[:3, 3]
    depth = _exit_distance(origin, rays, np.array([0.0, 0.0, _ROOM_HALF]), np.full(3, _ROOM_HALF))
    on_floor = (origin + depth[:, None] * rays)[:, 2] < 1e-6
    ids = np.where(on_floor, _FLOOR_ID, _ROOM_ID)
    colors = np.where(on_floor[:, None], [0.55, 0.5, 0.45], [0.75, 0.75, 0.8])
    for index, solid in enumerate(SOLIDS):
        distance = _hit_distance(origin, rays, solid)
        nearer = distance < depth
        depth = np.where(nearer, distance, depth)
        ids = np.where(nearer, _FIRST_OBJECT_ID + index, ids)
        colors = np.where(nearer[:, None], solid.color, colors)
    points = origin + depth[:, None] * rays
    shade = 0.82 + 0.18 * np.sin(points @ [41.0, 17.0, 29.0]) * np.sin(points @ [-13.0, 37.0, 23.0] + ids)
    shape = (intrinsics.height, intrinsics.width)
    image = (np.clip(colors * shade[:, None], 0, 1) * 255).round().astype(np.uint8).reshape(*shape, 3)
    return image, depth.astype(np.float32).reshape(shape), ids.astype(np.int32).reshape(shape)


def _labels() -> dict[int, tuple[str, str]]:
    things = {
        _FIRST_OBJECT_ID + i: (f"{'ball' if solid.sphere else 'box'} {i + 1}", "object")
        for i, solid in enumerate(SOLIDS)
    }
    return {_FLOOR_ID: ("floor", "background"), _ROOM_ID: ("room", "background"), **things}


def _pose(share: float) -> np.ndarray:
    """World from camera, [4, 4], at a share 0..1 of the path: an arc of 200 degrees, looking at the objects."""
    angle = np.deg2rad(-100 + 200 * share)
    position = np.array([1.1 * np.sin(angle), -1.1 * np.cos(angle), 0.65 + 0.1 * np.sin(5 * share)])
    return look_at(position, np.array([0.0, 0.0, 0.06]))


def _slabs(origin: np.ndarray, rays: np.ndarray, center: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave an axis-aligned box."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (center - half - origin) / rays, (center + half - origin) / rays
    return np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)


def _exit_distance(origin: np.ndarray, rays: np.ndarray, center: np.ndarray, half: np.ndarray) -> np.ndarray:
    return _slabs(origin, rays, center, half)[1]


def _hit_distance(origin: np.ndarray, rays: np.ndarray, solid: Solid) -> np.ndarray:
    """Ray parameter of the first hit, inf where there is none."""
    center = np.asarray(solid.center)
    if not solid.sphere:
        enter, leave = _slabs(origin, rays, center, np.asarray(solid.half))
        return np.where((enter < leave) & (enter > 0), enter, np.inf)
    offset = origin - center
    a, b, c = (rays**2).sum(axis=1), rays @ offset, offset @ offset - solid.half[0] ** 2
    discriminant = b**2 - a * c
    return np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)


def _surface_points(solid: Solid, spacing: float = 0.005) -> np.ndarray:
    """Points on a solid's surface, [P, 3] float32."""
    center, half = np.asarray(solid.center), np.asarray(solid.half)
    if solid.sphere:
        count = int(4 * np.pi * (half[0] / spacing) ** 2)
        z = 1 - (2 * np.arange(count) + 1) / count  # Fibonacci sphere
        angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
        directions = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)
        return (center + half[0] * directions).astype(np.float32)
    steps = [np.linspace(-1, 1, max(2, int(2 * size / spacing))) for size in half]
    faces = []
    for axis in range(3):
        first, second = np.meshgrid(*(steps[other] for other in range(3) if other != axis))
        for side in (-1.0, 1.0):
            face = np.insert(np.stack([first.ravel(), second.ravel()], axis=1), axis, side, axis=1)
            faces.append(center + face * half)
    return np.concatenate(faces).astype(np.float32)


def _shuffled(instances: np.ndarray, seed: int) -> np.ndarray:
    """The same regions under ids that mean nothing outside this frame, as 2D mask sources give them."""
    ids, dense = np.unique(instances, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(ids)).astype(np.int32) + 1)[dense.reshape(instances.shape)]
