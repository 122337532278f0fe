"""Mesh primitives that the scene is modelled from: lathed bodies, boxes, tubes, leaves. Metres, z up."""

from __future__ import annotations

import bpy
import numpy as np

SHARP_ANGLE = np.radians(40)


def lathe(name: str, profile: np.ndarray, segments: int = 72) -> bpy.types.Object:
    """A body of revolution around z.

    profile: [N, 2] radius and height, from the bottom up along the outside (and down again inside, for vessels).
    UV: u once around, v along the length of the profile.
    """
    profile = np.asarray(profile, float)
    radius = np.maximum(profile[:, 0], 1e-5)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    x = np.cos(angle)[:, None] * radius
    y = np.sin(angle)[:, None] * radius
    z = np.broadcast_to(profile[:, 1], x.shape)
    uv = np.stack(np.meshgrid(np.arange(segments + 1) / segments, length / length[-1], indexing="ij"), -1)
    return _grid(name, np.stack([x, y, z], -1), uv, closed=True)


def box(name: str, size: tuple[float, float, float], bevel: float = 0.0) -> bpy.types.Object:
    """A box standing on z = 0, centred in x and y. Front is -y.

    UV atlas: front, right, back and left side by side over the upper four fifths, top and bottom below them.
    """
    sx, sy, sz = np.asarray(size, float) / 2
    corners = np.array([[-sx, -sy, 0], [sx, -sy, 0], [sx, sy, 0], [-sx, sy, 0]])
    vertices = np.concatenate([corners, corners + [0, 0, 2 * sz]])
    faces = [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7), (3, 2, 1, 0)]
    tiles = [(k / 4, 0.2, (k + 1) / 4, 1.0) for k in range(4)] + [(0.0, 0.0, 0.5, 0.2), (0.5, 0.0, 1.0, 0.2)]
    uvs = [[(u0, v0), (u1, v0), (u1, v1), (u0, v1)] for u0, v0, u1, v1 in tiles]
    made = _object(name, vertices, faces, np.reshape(uvs, (-1, 2)))
    if bevel > 0:
        modifier = made.modifiers.new("bevel", "BEVEL")
        modifier.width, modifier.segments = bevel, 3
    return made


def tube(name: str, path: np.ndarray, radius: float | np.ndarray, segments: int = 20) -> bpy.types.Object:
    """A round tube with closed ends along path [N, 3]; radius is one number or one per point."""
    path = np.asarray(path, float)
    radius = np.broadcast_to(radius, len(path)).astype(float)
    path = np.concatenate([path[:1], path, path[-1:]])
    radius = np.concatenate([[1e-5], radius, [1e-5]])
    tangent = np.gradient(path, axis=0)
    tangent[0], tangent[-1] = tangent[1], tangent[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.cross(tangent[0], [0.31, 0.83, 0.47])
    rings = []
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    for point, direction, size in zip(path, tangent, radius, strict=True):
        normal = normal - direction * normal.dot(direction)  # parallel transport: the tube does not twist
        normal /= np.linalg.norm(normal)
        side = np.cross(direction, normal)
        rings.append(point + size * (np.cos(angle)[:, None] * normal + np.sin(angle)[:, None] * side))
    uv = np.stack(np.meshgrid(np.arange(segments + 1) / segments, np.linspace(0, 1, len(path)), indexing="ij"), -1)
    return _grid(name, np.stack(rings, 1), uv, closed=True)


def leaf(name: str, spine: np.ndarray, width: np.ndarray, fold: float = 0.25) -> bpy.types.Object:
    """A thin blade along spine [N, 3], width [N], folded along its middle by `fold` of its half width."""
    spine = np.asarray(spine, float)
    tangent = np.gradient(spine, axis=0)
    side = np.cross(tangent, [0, 0, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, tangent / np.linalg.norm(tangent, axis=1, keepdims=True))
    across = np.linspace(-1, 1, 5)
    half = np.asarray(width)[None, :, None] / 2
    points = spine + half * (across[:, None, None] * side + fold * np.abs(across)[:, None, None] * up)
    uv = np.stack(np.meshgrid((across + 1) / 2, np.linspace(0, 1, len(spine)), indexing="ij"), -1)
    return _grid(name, points, uv, closed=False)


def curve(points: np.ndarray, samples: int = 8) -> np.ndarray:
    """Catmull-Rom spline through points [N, D], `samples` per span -> [(N - 1) * samples + 1, D]."""
    points = np.asarray(points, float)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*spans, points[-1:]])


def mm(points: list[tuple[float, ...]]) -> np.ndarray:
    """Points given in millimetres, in metres."""
    return np.array(points, float) / 1000


def _grid(name: str, points: np.ndarray, uv: np.ndarray, *, closed: bool) -> bpy.types.Object:
    """Quads over points [A, B, 3]; where closed, the last row joins the first and uv has A + 1 rows."""
    rows, columns = points.shape[:2]
    i, j = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(columns - 1), indexing="ij")
    i, j = i.ravel(), j.ravel()
    corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
    faces = np.stack([(a % rows) * columns + b for a, b in corners], 1)
    uvs = np.stack([uv[a, b] for a, b in corners], 1)
    return _object(name, points.reshape(-1, 3), faces.tolist(), uvs.reshape(-1, 2))


def _object(name: str, vertices: np.ndarray, faces: list, uvs: np.ndarray) -> bpy.types.Object:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(np.asarray(vertices).tolist(), [], faces)
    mesh.uv_layers.new(name="uv").data.foreach_set("uv", np.asarray(uvs, np.float32).ravel())
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=SHARP_ANGLE)
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    return made
