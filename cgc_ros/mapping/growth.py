"""Growing the map: Gaussians for what a new keyframe adds, and later for the detail that training could not render."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.config import DensityConfig, SeedingConfig
from cgc_ros.mapping.density import make_room
from cgc_ros.mapping.depth_source import SeedDepth
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.seeding import SeedDensity, seed_density, seed_gaussians
from cgc_ros.rendering import Camera, Render

CARVE_WINDOW = 7  # pixels, odd
CARVE_FADING = 2.0  # of the logit of the opacity: 0.7 becomes 0.24, and after another time 0.04


class MapGrowth:
    """Adds Gaussians to a model under its cap. `render` gives colour, depth and opacity of any view, no gradients."""

    def __init__(
        self,
        model: GaussianModel,
        seeding: SeedingConfig,
        density: DensityConfig,
        render: Callable[[Camera], Render],
        seed: int,
    ):
        self.model, self.seeding, self.density, self.render = model, seeding, density, render
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def carve(self, source: SeedDepth) -> int:
        """Fade Gaussians that hang in the free space before a keyframe's measured surface; how many.

        Those that stood there by right come back with training; those from wrong depth do not.
        """
        model, camera = self.model, source.keyframe.camera(1.0, self.model.device)
        if len(model) == 0:
            return 0
        # The nearest surface around a pixel, nothing where part of it is unknown: borders are never quite in place.
        known = np.where(source.guessed, 0.0, source.depth).astype(np.float32)
        nearest = cv2.erode(known, np.ones((CARVE_WINDOW, CARVE_WINDOW)))
        nearest[source.confidence < self.seeding.carve_confidence] = 0.0
        surface = torch.from_numpy(nearest).to(model.device)
        pose = camera.camera_from_world
        points = model.means.detach() @ pose[:3, :3].T + pose[:3, 3]
        depth = points[:, 2]
        columns = (camera.fx * points[:, 0] / depth.clamp_min(1e-6) + camera.cx).long()
        rows = (camera.fy * points[:, 1] / depth.clamp_min(1e-6) + camera.cy).long()
        seen = (depth > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        rows, columns = rows.clamp(0, camera.height - 1), columns.clamp(0, camera.width - 1)
        floating = seen & (depth < (1 - self.seeding.carve_margin) * surface[rows, columns])
        model.parameters["logit_opacities"].detach()[floating] -= CARVE_FADING
        return int(floating.sum())

    def seed(self, source: SeedDepth, step: int) -> int:
        """Gaussians for what the map does not explain of a keyframe; how many."""
        keyframe, depth, measured = source.keyframe, source.depth, ~source.guessed
        rendered, usable = None, depth > 0
        if len(self.model):
            color, alpha, map_depth = self._view(keyframe)
            behind = measured & (map_depth - depth > self.seeding.relative_depth_error * depth)
            covered = (alpha > self.seeding.covered_alpha) & ~behind
            rendered = (color, covered)
            usable = (measured | ~covered) & usable
        wanted = seed_density(keyframe.image, usable, rendered, self.seeding)
        return self._add(keyframe, depth, wanted, step, confidence=source.confidence)

    def refine(self, keyframe: Keyframe, step: int) -> int:
        """Gaussians where a trained keyframe still lacks detail, on the measured or rendered surface; how many."""
        if len(self.model) == 0:
            return 0
        color, alpha, map_depth = self._view(keyframe)
        covered = alpha > self.seeding.covered_alpha
        depth = np.where(covered, map_depth, 0.0).astype(np.float32)
        if keyframe.depth is not None:
            depth = np.where(keyframe.depth > 0, keyframe.depth.astype(np.float32), depth)
        config = replace(self.seeding, refine_share=self.seeding.refine_late_share)
        wanted = seed_density(keyframe.image, covered & (depth > 0), (color, covered), config)
        return self._add(keyframe, depth, wanted, step, spare=True)

    def rendered_depth(self, keyframe: Keyframe) -> np.ndarray | None:
        """The map's own depth in a keyframe's view, [H, W] float32, 0 where it does not know; None without a map."""
        if len(self.model) == 0:
            return None
        _, alpha, depth = self._view(keyframe)
        return np.where(alpha > self.seeding.covered_alpha, depth, 0.0).astype(np.float32)

    def _view(self, keyframe: Keyframe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour [H, W, 3] 0..1, opacity and depth [H, W] of the map in a keyframe's view."""
        view = self.render(keyframe.camera(1.0, self.model.device))
        return view.color.clamp(0, 1).cpu().numpy(), view.alpha.cpu().numpy(), view.depth.cpu().numpy()

    def _add(
        self,
        keyframe: Keyframe,
        depth: np.ndarray,
        wanted: SeedDensity,
        step: int,
        *,
        confidence: np.ndarray | None = None,
        spare: bool = False,
    ) -> int:
        """Draw Gaussians; `spare`: only into rows that are free, else the least important ones give way."""
        seeds = seed_gaussians(
            keyframe.image,
            depth,
            keyframe.intrinsics,
            keyframe.world_from_camera,
            wanted,
            self.seeding,
            self.rng,
            confidence,
        )
        room = self.density.max_gaussians - len(self.model)
        if len(seeds) > room and not spare:
            room += make_room(self.model, self.density, step, len(seeds) - room)
        if len(seeds) > room:
            seeds = seeds.select(torch.from_numpy(np.sort(self.rng.choice(len(seeds), max(room, 0), replace=False))))
        self.model.append(seeds, step, self.generator)
        return len(seeds)
