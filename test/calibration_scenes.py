"""Scenes of known calibration: matches computed from points in space, and a textured wall that a camera passes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.calibration.matches import Matches
from cgc_ros.calibration.model import CalibrationModel, Observations
from cgc_ros.calibration.views import PosedViews, Trajectory
from cgc_ros.frame import Frame, Intrinsics

CAMERA = Intrinsics(640, 480, 520.0, 520.0, 322.0, 236.0)
RATE_HZ = 10.0


@dataclass
class Scene:
    """Points 1 to 4 m before a camera that goes an arc, with a hand's sway. What is `given` may be wrong."""

    seed: int = 0
    views: int = 16
    noise_px: float = 0.3
    outliers: float = 0.1
    pose_noise: float = 0.0  # radians and metres
    motion: str = "arc"  # arc | still | forward

    def times(self) -> np.ndarray:
        return np.arange(self.views) / RATE_HZ

    def poses(self, times: np.ndarray) -> np.ndarray:
        """[N, 4, 4] true ones."""
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        if self.motion == "arc":
            yaw, pitch = 0.35 * np.sin(1.7 * times), 0.15 * np.sin(2.9 * times + 0.5)
            angles = np.stack([pitch, yaw, 0.1 * np.sin(2.3 * times)], axis=1)
            poses[:, :3, :3] = Rotation.from_rotvec(angles).as_matrix()
            poses[:, :3, 3] = np.stack([-0.8 * yaw, 0.5 * pitch, 0.1 * np.sin(1.3 * times)], axis=1)
        elif self.motion == "forward":
            poses[:, 2, 3] = 0.03 * np.arange(len(times))
        return poses

    def model(
        self, given: Intrinsics = CAMERA, late_s: float = 0.0, depth_factor: float = 1.0, has_time: bool = True
    ) -> CalibrationModel:
        """What a check sees; images are stamped `late_s` late, depth is `depth_factor` times what it is (0: none)."""
        rng = np.random.default_rng(self.seed)
        points = np.stack(
            [rng.uniform(-2.5, 2.5, 1500), rng.uniform(-1.8, 1.8, 1500), rng.uniform(1.0, 4.0, 1500)], axis=1
        )
        times = self.times()
        noisy = self.poses(times)
        noisy[:, :3, :3] = (
            noisy[:, :3, :3] @ Rotation.from_rotvec(self.pose_noise * rng.normal(size=(self.views, 3))).as_matrix()
        )
        noisy[:, :3, 3] += self.pose_noise * rng.normal(size=(self.views, 3))
        seen = [self._project(points, pose, rng) for pose in self.poses(times - late_s)]
        parts, depths = [], []
        for one in range(self.views):
            for other in (one + 1, one + 2, one + 5):
                if other >= self.views:
                    continue
                both = np.flatnonzero(seen[one][2] & seen[other][2])
                both = rng.permutation(both)[:20]
                partners = seen[other][0][both]
                wrong = rng.random(len(both)) < self.outliers
                partners[wrong] += rng.normal(size=(int(wrong.sum()), 2)) * 30.0
                parts.append(Matches(np.full(len(both), one), np.full(len(both), other), seen[one][0][both], partners))
                depths.append(seen[one][1][both] * depth_factor)
        views = PosedViews((given,) * self.views, noisy, times)
        trajectory = Trajectory(times, noisy) if has_time else None
        return CalibrationModel(views, Observations(Matches.joined(parts), np.concatenate(depths)), trajectory)

    def _project(self, points: np.ndarray, pose: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        pixels = local[:, :2] / local[:, 2:] * CAMERA.fx + (CAMERA.cx, CAMERA.cy)
        inside = (local[:, 2] > 0.3) & (pixels >= 0).all(axis=1) & (pixels < (CAMERA.width, CAMERA.height)).all(axis=1)
        return pixels + self.noise_px * rng.normal(size=pixels.shape), local[:, 2], inside


def scaled(focal: float = 1.0, dx: float = 0.0, dy: float = 0.0) -> Intrinsics:
    """A wrong calibration of CAMERA."""
    return replace(CAMERA, fx=CAMERA.fx * focal, fy=CAMERA.fy * focal, cx=CAMERA.cx + dx, cy=CAMERA.cy + dy)


def write_planes(folder: Path, frames: int = 16, width: int = 320, height: int = 240) -> Path:
    """A recording (images, depth, poses.csv, intrinsics.json) of a wall 3 m away and boards before it, 1.5 m away."""
    camera = CAMERA.scaled_to(width, height)
    rng = np.random.default_rng(5)
    boards = np.zeros((480, 640), np.uint8)
    for x, y in ((60, 60), (280, 200), (440, 40), (120, 300), (450, 320)):
        boards[y : y + 110, x : x + 140] = 1
    planes = [(3.0, _blobs(rng), np.ones((480, 640), np.uint8)), (1.5, _blobs(rng), boards)]
    for name in ("images", "depth"):
        (folder / name).mkdir(parents=True)
    rows = ["stamp,tx,ty,tz,qx,qy,qz,qw,image"]
    times = np.arange(frames) / RATE_HZ
    for index, pose in enumerate(Scene().poses(times)):
        image, depth = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
        for distance, texture, mask in planes:
            pixel = distance / 350.0  # metres of one pixel of the texture
            on_plane = np.array([[pixel, 0, -320 * pixel], [0, pixel, -240 * pixel], [0, 0, distance]])
            on_plane[:, 2] -= pose[:3, 3]
            homography = camera.matrix() @ pose[:3, :3].T @ on_plane
            seen = cv2.warpPerspective(mask, homography, (width, height), flags=cv2.INTER_NEAREST) > 0
            image[seen] = cv2.warpPerspective(texture, homography, (width, height))[seen]
            columns, lines = np.meshgrid(np.arange(width), np.arange(height))
            flat = np.stack([(columns - camera.cx) / camera.fx, (lines - camera.cy) / camera.fy], axis=-1)
            rays = np.concatenate([flat, np.ones((height, width, 1))], axis=-1)
            depth[seen] = ((distance - pose[2, 3]) / (rays @ pose[2, :3]))[seen]
        cv2.imwrite(str(folder / "images" / f"{index:04d}.png"), image)
        cv2.imwrite(str(folder / "depth" / f"{index:04d}.png"), np.rint(depth * 1000).astype(np.uint16))
        numbers = [times[index], *pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        rows.append(",".join(f"{value:.9f}" for value in numbers) + f",{index:04d}.png")
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")
    names = ("fx", "fy", "cx", "cy", "width", "height")
    (folder / "intrinsics.json").write_text(json.dumps({name: getattr(camera, name) for name in names}))
    return folder


def _blobs(rng: np.random.Generator) -> np.ndarray:
    """[480, 640, 3] uint8 of blobs of several sizes."""
    layers = [
        cv2.resize(rng.uniform(0, 255, (480 // size, 640 // size, 3)).astype(np.float32), (640, 480))
        for size in (8, 20)
    ]
    return ((layers[0] + layers[1]) / 2).astype(np.uint8)


WALL_CAMERA = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
WALL_M = 1.5


def wall_texture() -> np.ndarray:
    """[120, 480, 3] uint8: blobs of several sizes."""
    rng = np.random.default_rng(3)
    layers = [
        cv2.resize(rng.uniform(0, 255, (120 // size, 480 // size, 3)).astype(np.float32), (480, 120))
        for size in (4, 10)
    ]
    return ((layers[0] + layers[1]) / 2).astype(np.uint8)


def wall_frame(step: int, depth_factor: float = 1.0) -> Frame:
    """The wall from a place 0.06 m further right at each step; its depth times `depth_factor`."""
    pose = np.eye(4)
    pixels = 6 * step
    pose[0, 3] = pixels * WALL_M / WALL_CAMERA.fx
    image = np.ascontiguousarray(wall_texture()[:, pixels : pixels + 160])
    depth = np.full((120, 160), WALL_M * depth_factor, np.float32)
    return Frame(1_000_000_000 + step * 200_000_000, image, pose, WALL_CAMERA, depth)
