"""An immutable picture of the map that topics, services, files and the viewer read while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import UNLABELLED
from cgc_ros.gaussians.model import SH_C0, GaussianModel
from cgc_ros.rendering import Camera, label_image, rasterize
from cgc_ros.segmentation.object_layer import ObjectRecord
from cgc_ros.segmentation.objects import MapObject, oriented_box, without_floaters

SOLID_OPACITY = 0.5  # Gaussians below it do not count as an object's surface
KNOWN_ALPHA = 0.5  # a pixel with less opacity is unknown: no depth, no label
MAX_THING_SIZE = 1.0  # of the scene's typical distance: what is longer is background
MIN_LABEL_SHARE = 0.3  # of a pixel's weight that the winning object must hold


@dataclass(frozen=True)
class ViewRender:
    color: np.ndarray  # [H, W, 3] uint8
    depth: np.ndarray  # [H, W] float32, metres, NaN unknown
    alpha: np.ndarray  # [H, W] float32


@dataclass(frozen=True)
class MapSnapshot:
    """The map at one moment. Nothing in it changes; every method may be called from any thread."""

    version: int  # grows with each snapshot
    stamp_ns: int  # of the newest frame in the map
    model: GaussianModel  # frozen
    object_ids: Tensor  # [N] int32, -1 = none
    records: dict[int, ObjectRecord]
    names: dict[int, tuple[str, float]]  # object id -> name and its confidence
    up: np.ndarray  # [3] unit, map frame
    scene_depth: float  # metres, typical distance from the camera to what it sees
    backend: str

    @property
    def num_gaussians(self) -> int:
        return len(self.model)

    @torch.no_grad()
    def render(self, camera: Camera) -> ViewRender:
        """Colour, depth and opacity of any view."""
        model = self.model
        out = rasterize(
            model.means, model.quats, self._scales, self._opacities, camera, colors=model.sh, sh_degree=model.sh_degree,
            depth=True, backend=self.backend,
        )
        depth = torch.where(out.alpha >= KNOWN_ALPHA, out.depth, torch.nan)
        color = (out.color.clamp(0, 1) * 255).round().to(torch.uint8)
        return ViewRender(color.cpu().numpy(), depth.cpu().numpy(), out.alpha.cpu().numpy())

    @torch.no_grad()
    def segment(self, camera: Camera) -> np.ndarray:
        """Lasting object ids of any view, [H, W] uint16, 65535 unlabelled."""
        labels, confidence, _ = label_image(
            self.model.means, self.model.quats, self._scales, self._opacities, camera, self.object_ids, backend=self.backend)
        known = (labels >= 0) & (confidence >= MIN_LABEL_SHARE)
        return torch.where(known, labels, UNLABELLED).cpu().numpy().astype(np.uint16)

    @cached_property
    def objects(self) -> tuple[MapObject, ...]:
        """Every object, by id; computed at first use."""
        ids = self.object_ids.cpu().numpy()
        solid = (self._opacities >= SOLID_OPACITY).cpu().numpy()
        means = self.model.means.cpu().numpy()
        colors = _plain_colors(self.model).cpu().numpy()
        order = np.argsort(np.where(solid, ids, -1), kind="stable")
        sorted_ids = np.where(solid, ids, -1)[order]
        found = []
        for object_id, record in sorted(self.records.items()):
            rows = order[np.searchsorted(sorted_ids, object_id) : np.searchsorted(sorted_ids, object_id, side="right")]
            points = means[rows]
            kept = without_floaters(points)
            if kept.sum() < 3:
                continue
            name, name_confidence = self.names.get(object_id, ("", 0.0))
            box = oriented_box(points[kept], self.up)
            found.append(MapObject(
                object_id, name, name_confidence, record.confidence,
                record.background or bool(box.size.max() > MAX_THING_SIZE * self.scene_depth), box,
                points[kept], colors[rows][kept], record.num_views, record.first_seen_ns, record.last_seen_ns,
            ))
        return tuple(found)

    @cached_property
    def _scales(self) -> Tensor:
        return self.model.scales

    @cached_property
    def _opacities(self) -> Tensor:
        return self.model.opacities


def _plain_colors(model: GaussianModel) -> Tensor:
    """View-independent colour of every Gaussian, [N, 3] uint8."""
    return ((model.sh[:, 0] * SH_C0 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
