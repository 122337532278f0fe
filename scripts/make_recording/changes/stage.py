"""A room, a table, and things of many shapes to put on it, all drawn from a seed."""

from __future__ import annotations

import numpy as np

from make_recording.changes.ray_cast import Thing
from make_recording.changes.solids import Paint, Solid

TABLE_ID, ROOM_ID, FIRST_ID = 1, 50, 2
TABLE_HALF = (0.62, 0.45)  # metres
_NAMES = ("carton", "can", "ball", "mug", "book", "bottle", "block", "tin", "lamp", "bowl")


def room(seed: int) -> list[Thing]:
    """The room, first, and the table, whose top is at z = 0."""
    rng = np.random.default_rng([seed, 1])
    walls = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        half, center = [2.6, 2.6, 1.6], [0.0, 0.0, 0.85]
        half[axis], center[axis] = 0.05, sign * 2.6
        walls.append(Solid("box", tuple(half), tuple(center), _paint(rng, "blotches", 0.5, dull=True)))
    floor = Solid("box", (2.7, 2.7, 0.05), (0.0, 0.0, -0.8), _paint(rng, "checks", 0.3, dull=True))
    cupboard = Solid("box", (0.5, 0.25, 0.7), (-1.4, 2.2, -0.05), _paint(rng, "stripes", 0.2, dull=True))
    shelf = Solid("box", (0.25, 0.8, 0.5), (2.2, -0.4, -0.25), _paint(rng, "checks", 0.17, dull=True))
    top = Solid("box", (*TABLE_HALF, 0.02), (0.0, 0.0, -0.02), _paint(rng, "grain", 0.05, dull=True))
    legs = [
        Solid("box", (0.025, 0.025, 0.36), (x, y, -0.4), top.paint)
        for x in (-TABLE_HALF[0] + 0.05, TABLE_HALF[0] - 0.05)
        for y in (-TABLE_HALF[1] + 0.05, TABLE_HALF[1] - 0.05)
    ]
    return [
        Thing(ROOM_ID, "room", "background", (*walls, floor, cupboard, shelf), np.eye(4)),
        Thing(TABLE_ID, "table", "background", (top, *legs), np.eye(4)),
    ]


def thing(number: int, seed: int) -> Thing:
    """The number-th thing, standing with its foot at the origin of its own coordinates."""
    rng = np.random.default_rng([seed, 2, number])
    name = _NAMES[int(rng.integers(len(_NAMES)))]
    paint = _paint(rng, str(rng.choice(["stripes", "checks", "blotches", "print"])), rng.uniform(0.025, 0.06))
    solids = _solids(name, paint, _paint(rng, "blotches", 0.05), rng)
    return Thing(FIRST_ID + number, f"{name} {FIRST_ID + number}", "object", solids, np.eye(4))


def _solids(name: str, paint: Paint, other: Paint, rng: np.random.Generator) -> tuple[Solid, ...]:
    size = rng.uniform(0.85, 1.25)
    if name == "carton":
        half = size * np.array([rng.uniform(0.04, 0.07), rng.uniform(0.03, 0.05), rng.uniform(0.06, 0.11)])
        return (_standing("box", half, paint),)
    if name == "book":
        half = size * np.array([rng.uniform(0.07, 0.1), rng.uniform(0.05, 0.07), rng.uniform(0.014, 0.024)])
        return (_standing("box", half, paint),)
    if name == "block":
        return (_standing("box", size * np.array([0.035, 0.04, 0.03]), paint),)
    if name == "ball":
        return (_standing("ellipsoid", size * np.array([0.05, 0.05, 0.05]), paint),)
    if name == "bowl":
        return (_standing("ellipsoid", size * np.array([0.08, 0.08, 0.045]), paint),)
    if name in ("can", "tin"):
        tall = 0.06 if name == "can" else 0.03
        return (_standing("cylinder", size * np.array([0.036, 0.036, tall]), paint),)
    if name == "mug":
        body = _standing("cylinder", size * np.array([0.042, 0.042, 0.05]), paint)
        handle = Solid("box", (0.022, 0.007, 0.028), (size * 0.042 + 0.015, 0.0, size * 0.05), other)
        return body, handle
    if name == "bottle":
        body = _standing("cylinder", size * np.array([0.035, 0.035, 0.08]), paint)
        neck = Solid("cylinder", (0.014, 0.014, 0.035), (0.0, 0.0, size * 0.16 + 0.035), other)
        return body, neck
    foot = Solid("cylinder", (0.06, 0.06, 0.012), (0.0, 0.0, 0.012), other)  # lamp
    stem = Solid("cylinder", (0.01, 0.01, 0.08), (0.0, 0.0, 0.1), other)
    shade = Solid("ellipsoid", (0.06, 0.06, 0.05), (0.0, 0.0, 0.2), paint)
    return foot, stem, shade


def _standing(kind: str, half: np.ndarray, paint: Paint) -> Solid:
    return Solid(kind, tuple(half.tolist()), (0.0, 0.0, float(half[2])), paint)


def extent(thing: Thing) -> tuple[float, float]:
    """Radius of its shadow and its height, metres."""
    radius = max(float(np.hypot(*part.center[:2]) + np.hypot(*part.half[:2])) for part in thing.solids)
    return radius, max(part.center[2] + part.half[2] for part in thing.solids)


def _paint(rng: np.random.Generator, pattern: str, scale: float, dull: bool = False) -> Paint:
    colors = []
    base = rng.uniform(0.15, 0.9, 3)
    for k in range(3):
        color = base if k == 0 else rng.uniform(0.1, 0.95, 3)
        if dull:
            color = base.mean() * 0.5 + 0.3 * base + 0.12 * color + 0.1
        colors.append(tuple(np.clip(color, 0.05, 0.95).tolist()))
    return Paint(tuple(colors), pattern, float(scale), int(rng.integers(1 << 30)))
