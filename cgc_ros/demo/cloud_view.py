"""Labelled point clouds drawn from a free viewpoint: depth-buffered discs with eye-dome lighting. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BACKGROUND = np.array([246.0, 246.0, 244.0])
_EDL_STRENGTH = 18.0  # of the shade that depth steps cast
_EDL_RADIUS = 2  # pixels
_MAX_RADIUS = 14  # pixels, of one point's disc


@dataclass(frozen=True)
class Viewpoint:
    """A pinhole view: `eye` and `target` [3] in metres, `up` [3] unit, size in pixels, `focal` in pixels."""

    eye: np.ndarray
    target: np.ndarray
    up: np.ndarray
    width: int
    height: int
    focal: float

    def camera_from_map(self) -> np.ndarray:
        """[4, 4], x right, y down, z forward."""
        forward = self.target - self.eye
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, self.up)
        right = right / np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ self.eye
        return matrix

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [P, 2] and depths [P] of points [P, 3]."""
        matrix = self.camera_from_map()
        local = points @ matrix[:3, :3].T + matrix[:3, 3]
        depth = np.maximum(local[:, 2], 1e-6)
        return local[:, :2] / depth[:, None] * self.focal + (self.width / 2, self.height / 2), local[:, 2]


def viewpoint_around(points: np.ndarray, seen_from: np.ndarray, up: np.ndarray, size: tuple[int, int]) -> Viewpoint:
    """A view that all points [P, 3] fill, from above and 25 degrees around from `seen_from` [3]; `size` (w, h)."""
    width, height = size
    target = np.median(points, axis=0)
    flat = (seen_from - target) - np.dot(seen_from - target, up) * up
    flat = flat / np.linalg.norm(flat) if np.linalg.norm(flat) > 1e-9 else np.roll(up, 1)
    turn, rise = np.radians(25.0), np.tan(np.radians(36.0))
    direction = np.cos(turn) * flat + np.sin(turn) * np.cross(up, flat) + rise * up
    direction = direction / np.linalg.norm(direction)
    distance = 3.0 * float(np.linalg.norm(np.ptp(points, axis=0))) + 0.1
    for _ in range(12):  # centre the picture on the points, then step closer until they fill it
        view = Viewpoint(target + direction * distance, target, up, width, height, 1.3 * width)
        pixels, _ = view.project(points)
        low, high = np.percentile(pixels, 0.2, axis=0), np.percentile(pixels, 99.8, axis=0)
        axes = view.camera_from_map()[:2, :3]
        target = target + ((low + high) / 2 - (width / 2, height / 2)) * distance / view.focal @ axes
        distance *= float(np.clip(np.max((high - low) / (0.88 * width, 0.84 * height)), 0.5, 2.0))
    return Viewpoint(target + direction * distance, target, up, width, height, 1.3 * width)


def draw_points(view: Viewpoint, points: np.ndarray, colors: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Points [P, 3] with colours [P, 3] uint8 as discs that close gaps of `spacing` [P] metres. [H, W, 3] uint8."""
    picture = np.broadcast_to(_BACKGROUND, (view.height * view.width, 3)).copy()
    depth_buffer = np.full(view.height * view.width, np.inf)
    pixels, depth = view.project(points)
    # Far to near: of equal pixels numpy keeps the last assignment.
    order = np.argsort(-depth)
    order = order[depth[order] > 0.05]
    pixels, depth, colors = pixels[order], depth[order], colors[order].astype(np.float64)
    column, row = np.floor(pixels).astype(np.int64).T
    radius = np.clip(0.85 * spacing[order] * view.focal / depth, 0.7, _MAX_RADIUS)
    reach = int(radius.max(initial=0.7))
    for v in range(-reach, reach + 1):
        for u in range(-reach, reach + 1):
            off = np.hypot(u, v)
            x, y = column + u, row + v
            drawn = (off <= radius) & (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
            index = y[drawn] * view.width + x[drawn]
            # Discs bulge towards the viewer: neighbours meet in a crease instead of hiding each other.
            z = depth[drawn] * (1.0 + 0.002 * (off / radius[drawn]) ** 2)
            nearer = z < depth_buffer[index]
            depth_buffer[index[nearer]] = z[nearer]
            picture[index[nearer]] = colors[drawn][nearer]
    shade = _eye_dome(depth_buffer.reshape(view.height, view.width))
    return np.clip(picture.reshape(view.height, view.width, 3) * shade[..., None], 0, 255).astype(np.uint8)


def _eye_dome(depth: np.ndarray) -> np.ndarray:
    """Shade [H, W] 0..1: darker where neighbours lie nearer (Boucheny and Ribes, "Eye-Dome Lighting", 2011)."""
    far = depth[np.isfinite(depth)].max(initial=1.0) * 1.3
    log_depth = np.log2(np.where(np.isfinite(depth), depth, far))
    obscured = np.zeros_like(depth)
    for v, u in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        neighbour = np.roll(log_depth, (_EDL_RADIUS * v, _EDL_RADIUS * u), axis=(0, 1))
        obscured += np.clip(log_depth - neighbour, 0.0, 0.12)
    return np.where(
        np.isfinite(depth), np.exp(-_EDL_STRENGTH * obscured / 8), 1.0 - 0.25 * (1 - np.exp(-4.0 * obscured / 8))
    )
