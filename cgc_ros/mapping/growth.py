"""Growing the map: Gaussians for what a new keyframe adds, and later for the detail that training could not render."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.mapping.config import DensityConfig, SeedingConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.density import least_contributing
from cgc_ros.mapping.depth_source import SeedDepth
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.seed_view import SeedView
from cgc_ros.mapping.seeding import SeedDensity, seed_density, seed_gaussians


class MapGrowth:
    """Adds Gaussians to a model under its cap."""

    def __init__(
        self,
        model: GaussianModel,
        seeding: SeedingConfig,
        density: DensityConfig,
        contribution: MapContribution,
        backend: str,
        seed: int,
    ):
        self.model, self.seeding, self.density = model, seeding, density
        self.contribution, self.backend = contribution, backend
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; tensors are the model's."""
        self.backend = backend

    @torch.no_grad()
    def carve(self, source: SeedDepth) -> int:
        """Fade Gaussians that hang in the free space before a keyframe's measured surface; how many.

        Those that stood there by right come back with training; those from wrong depth do not.
        """
        model, camera = self.model, source.keyframe.camera(1.0, self.model.device)
        if len(model) == 0:
            return 0
        # The nearest surface around a pixel, nothing where part of it is unknown: borders are never quite in place.
        window = np.ones((self.seeding.carve_window,) * 2)
        known = np.where(source.guessed, 0.0, source.depth).astype(np.float32)
        nearest = cv2.erode(known, window)
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
        self.fade(floating)
        return int(floating.sum())

    def fade(self, rows: torch.Tensor) -> None:
        """Make Gaussians, [N] bool, more transparent; training makes those opaque again that are borne out."""
        self.model.parameters["logit_opacities"].detach()[rows] -= self.seeding.carve_fading

    def seed(self, source: SeedDepth, step: int, new: np.ndarray | None = None) -> int:
        """Gaussians for what the map does not explain of a keyframe; how many. `new` [h, w] bool, of any size: where
        something stands that was not there, however near to what is mapped.
        """
        view = SeedView.of(source.keyframe, self.seeding.working_pixels)
        depth, measured = view.sampled(source.depth), ~view.sampled(source.guessed)
        rendered, usable = None, depth > 0
        if view.ignore is not None:
            usable &= ~view.ignore
        if len(self.model):
            color, alpha, map_depth = self._rendered(view)
            behind = measured & (map_depth - depth > self.seeding.relative_depth_error * depth)
            covered = (alpha > self.seeding.covered_alpha) & ~behind
            if new is not None:
                size = (covered.shape[1], covered.shape[0])
                covered &= cv2.resize(new.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) == 0
            rendered = (color, covered)
            usable = (measured | ~covered) & usable
        wanted = seed_density(view.image, usable, rendered, self.seeding)
        return self._add(view, depth, wanted, step, confidence=view.sampled(source.confidence))

    def refine(self, keyframe: Keyframe, step: int) -> int:
        """Gaussians where a trained keyframe still lacks detail, on the measured or rendered surface; how many."""
        if len(self.model) == 0:
            return 0
        view = SeedView.of(keyframe, self.seeding.working_pixels)
        color, alpha, map_depth = self._rendered(view)
        covered = alpha > self.seeding.covered_alpha
        depth = np.where(covered, map_depth, 0.0).astype(np.float32)
        measured = keyframe.world_depth()
        if measured is not None:
            measured = view.sampled(measured)
            depth = np.where(measured > 0, measured, depth)
        usable = covered & (depth > 0)
        if view.ignore is not None:
            usable &= ~view.ignore
        config = replace(self.seeding, refine_share=self.seeding.refine_late_share)
        wanted = seed_density(view.image, usable, (color, covered), config)
        return self._add(view, depth, wanted, step, spare=True)

    def rendered_depth(self, keyframe: Keyframe) -> np.ndarray | None:
        """The map's own depth in a keyframe's view, [h, w] float32 at seeding's size, 0 where it does not know; None
        without a map.
        """
        if len(self.model) == 0:
            return None
        _, alpha, depth = self._rendered(SeedView.of(keyframe, self.seeding.working_pixels))
        return np.where(alpha > self.seeding.covered_alpha, depth, 0.0).astype(np.float32)

    def _rendered(self, view: SeedView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour [h, w, 3] 0..1, opacity and depth [h, w] of the map in a view."""
        out = render_model(self.model, view.camera(self.model.device), self.backend, color=True, depth=True)
        return out.color.clamp(0, 1).cpu().numpy(), out.alpha.cpu().numpy(), out.depth.cpu().numpy()

    def _add(
        self,
        view: SeedView,
        depth: np.ndarray,
        wanted: SeedDensity,
        step: int,
        *,
        confidence: np.ndarray | None = None,
        spare: bool = False,
    ) -> int:
        """Draw Gaussians; `spare`: only into rows that are free, else what contributes least gives way to them."""
        pose = view.keyframe.world_from_camera
        config = self.seeding
        if not view.keyframe.has_depth_camera:
            config = replace(config, opacity=config.stereo_opacity)
        seeds = seed_gaussians(view.image, depth, view.intrinsics, pose, wanted, config, self.rng, confidence)
        room = max(0, self.density.max_gaussians - len(self.model))
        if len(seeds) > room and spare:
            seeds = seeds.select(torch.from_numpy(np.sort(self.rng.choice(len(seeds), room, replace=False))))
        elif len(seeds) > room:
            seeds = self._compete(view.keyframe, seeds, len(seeds) - room, step)
        self.model.append(seeds, step, self.generator)
        return len(seeds)

    def _compete(self, keyframe: Keyframe, seeds: GaussianSeeds, surplus: int, step: int) -> GaussianSeeds:
        """Let the `surplus` of a keyframe's seeds and the map's Gaussians that contribute least leave; the seeds that
        stay.

        A place that comes later takes from an earlier one what hardly shows there, and no more.
        """
        model, density, count = self.model, self.density, len(self.model)
        in_its_view = self.contribution.look(keyframe, seeds)
        values = torch.cat([self.contribution.measure(), self.density.newcomer_share * in_its_view[count:]])
        old, new = torch.arange(len(values), device=model.device).tensor_split([count])
        aged = old[model.born_step <= step - density.min_age]
        giving = least_contributing(values, aged, int(density.make_room * density.max_gaussians))
        stays = torch.ones(len(values), dtype=torch.bool, device=model.device)
        stays[least_contributing(values, torch.cat([giving, new]), surplus)] = False
        model.keep(stays[:count])
        return seeds.select(stays[count:].cpu())
