"""Solids that rays meet exactly: boxes, cylinders and ellipsoids with painted surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FAR = 1e9


@dataclass(frozen=True)
class Paint:
    """What a surface looks like at each of its own points, drawn from a seed."""

    colors: tuple[tuple[float, float, float], ...]  # two or three, 0..1
    pattern: str  # stripes | checks | blotches | grain | print
    scale: float  # metres, of the pattern
    seed: int

    def at(self, points: np.ndarray, phase: float = 0.0) -> np.ndarray:
        """Colour 0..1 [P, 3] at points [P, 3] of the solid's own coordinates; `phase` moves the pattern along."""
        rng = np.random.default_rng(self.seed)
        base, other, third = (np.array(self.colors[k % len(self.colors)]) for k in range(3))
        waves = _waves(points + phase, rng, self.scale)
        if self.pattern == "stripes":
            share = (np.sin(2 * np.pi * (points @ _direction(rng)) / self.scale + phase) > 0.2).astype(float)
        elif self.pattern == "checks":
            cells = np.floor(points / self.scale + 1e-4 + phase).astype(int).sum(axis=1)
            share = (cells % 2).astype(float)
        elif self.pattern == "grain":
            along = points @ np.array([1.0, 0.07, 0.0]) * 0.15 + points @ np.array([0.0, 1.0, 0.4])
            share = 0.5 + 0.5 * np.sin(2 * np.pi * along / self.scale + 2.0 * waves)
        else:  # blotches, print
            share = (waves > 0.15).astype(float)
        color = base + share[:, None] * (other - base)
        if self.pattern == "print":  # a label around the middle
            band = np.abs(points[:, 2] - 0.2 * self.scale) < 0.8 * self.scale
            color = np.where((band & (_waves(points * 2.1, rng, self.scale) > 0))[:, None], third, color)
        fine = 0.06 * _waves(points, rng, 0.25 * self.scale)
        return np.clip(color * (1 + fine[:, None]), 0, 1)


@dataclass(frozen=True)
class Solid:
    """A part of a thing, in the thing's coordinates."""

    kind: str  # box | cylinder (along z) | ellipsoid
    half: tuple[float, float, float]  # metres; a cylinder's radius is the first, its half height the third
    center: tuple[float, float, float]
    paint: Paint

    def meet(self, origins: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays first meet it, in ray lengths [P] (1e9: never), and its normals there [P, 3]."""
        o = (origins - np.array(self.center)) / np.array(self.half)
        d = rays / np.array(self.half)
        if self.kind == "box":
            distance, normal = _meet_slab(o, d, (0, 1, 2))
        elif self.kind == "ellipsoid":
            distance = _meet_quadric(o, d, (0, 1, 2))
            normal = o + np.where(distance < _FAR, distance, 0.0)[:, None] * d
        else:
            distance, normal = _meet_cylinder(o, d)
        normal = normal / np.array(self.half)
        return distance, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _meet_slab(o: np.ndarray, d: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    o, d = o[:, axes], np.where(np.abs(d[:, axes]) < 1e-12, 1e-12, d[:, axes])
    one, two = (-1 - o) / d, (1 - o) / d
    near, far = np.minimum(one, two), np.maximum(one, two)
    enters, leaves = near.max(axis=1), far.min(axis=1)
    axis = near.argmax(axis=1)
    distance = np.where((enters < leaves) & (enters > 1e-6), enters, _FAR)
    normal = np.zeros((len(o), 3))
    rows = np.arange(len(o))
    normal[rows, np.array(axes)[axis]] = -np.sign(d[rows, axis])
    return distance, normal


def _meet_quadric(o: np.ndarray, d: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    o, d = o[:, axes], d[:, axes]
    a, b, c = (d * d).sum(1), (o * d).sum(1), (o * o).sum(1) - 1
    inner = b * b - a * c
    root = np.sqrt(np.maximum(inner, 0))
    near = (-b - root) / np.maximum(a, 1e-12)
    return np.where((inner > 0) & (near > 1e-6), near, _FAR)


def _meet_cylinder(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = _meet_quadric(o, d, (0, 1))
    point = o + np.where(side < _FAR, side, 0.0)[:, None] * d
    side = np.where(np.abs(point[:, 2]) <= 1, side, _FAR)
    normal = point * [1.0, 1.0, 0.0]
    slope = np.where(np.abs(d[:, 2]) < 1e-12, 1e-12, d[:, 2])
    cap = (-np.sign(slope) - o[:, 2]) / slope
    at = o + np.clip(cap, 0, _FAR)[:, None] * d
    cap = np.where((cap > 1e-6) & ((at[:, :2] ** 2).sum(1) <= 1), cap, _FAR)
    is_cap = cap < side
    normal = np.where(is_cap[:, None], np.stack([0 * slope, 0 * slope, -np.sign(slope)], 1), normal)
    return np.minimum(side, cap), normal


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _waves(points: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    total = np.zeros(len(points))
    for _ in range(5):
        total += np.sin(points @ (_direction(rng) * 2 * np.pi / scale * rng.uniform(0.6, 1.6)) + rng.uniform(0, 6.3))
    return total / 2.5
