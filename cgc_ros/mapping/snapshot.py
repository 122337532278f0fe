"""An immutable picture of the map that topics, services, files and the viewer read while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import UNLABELLED
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.surface import plain_colors, surface_points
from cgc_ros.rendering import Camera, label_image, rasterize
from cgc_ros.segmentation.object_layer import ObjectRecord
from cgc_ros.segmentation.objects import MapObject, oriented_box, without_floaters

SOLID_OPACITY = 0.5  # Gaussians below it do not count as an object's surface
KNOWN_ALPHA = 0.5  # a pixel with less opacity is unknown: no depth, no label
MIN_OBJECT_GAUSSIANS = 5
POINT_SPACING = 0.004  # of the scene's typical distance: between an object's points
MAX_POINTS = 20_000  # per object
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
        model, camera = self.model, camera.to(self.model.device)
        out = rasterize(
            model.means,
            model.quats,
            self._scales,
            self._opacities,
            camera,
            colors=model.sh,
            sh_degree=model.sh_degree,
            depth=True,
            backend=self.backend,
        )
        depth = torch.where(out.alpha >= KNOWN_ALPHA, out.depth, torch.nan)
        color = (out.color.clamp(0, 1) * 255).round().to(torch.uint8)
        return ViewRender(color.cpu().numpy(), depth.cpu().numpy(), out.alpha.cpu().numpy())

    @torch.no_grad()
    def segment(self, camera: Camera) -> np.ndarray:
        """Lasting object ids of any view, [H, W] uint16, 65535 unlabelled."""
        labels, confidence, _ = label_image(
            self.model.means,
            self.model.quats,
            self._scales,
            self._opacities,
            camera.to(self.model.device),
            self.object_ids,
            backend=self.backend,
        )
        known = (labels >= 0) & (confidence >= MIN_LABEL_SHARE)
        return torch.where(known, labels, UNLABELLED).cpu().numpy().astype(np.uint16)

    @cached_property
    def objects(self) -> tuple[MapObject, ...]:
        """Every object, by id; computed at first use."""
        solid = torch.where(self._opacities >= SOLID_OPACITY, self.object_ids, -1).cpu().numpy()
        order = np.argsort(solid, kind="stable")
        known = np.array(sorted(self.records), dtype=solid.dtype)
        begins = np.searchsorted(solid[order], known)
        ends = np.searchsorted(solid[order], known, side="right")
        found = (
            self._object(self.records[object_id], order[begin:end])
            for object_id, begin, end in zip(known.tolist(), begins, ends, strict=True)
        )
        return tuple(item for item in found if item is not None)

    def _object(self, record: ObjectRecord, rows: np.ndarray) -> MapObject | None:
        """One object from its solid Gaussians; None where they are too few to have a shape."""
        rows = rows[without_floaters(self.model.means[rows].cpu().numpy())]
        if len(rows) < MIN_OBJECT_GAUSSIANS:
            return None
        index = torch.from_numpy(rows).to(self.model.device)
        points, source = surface_points(
            self.model.means[index],
            self.model.quats[index],
            self._scales[index],
            POINT_SPACING * self.scene_depth,
            MAX_POINTS,
        )
        colors = plain_colors(self.model.sh[index])[source]
        box = oriented_box(points.cpu().numpy(), self.up)
        name, name_confidence = self.names.get(record.id, ("", 0.0))
        return MapObject(
            record.id,
            name,
            name_confidence,
            record.confidence,
            record.background,
            box,
            points.cpu().numpy(),
            colors.cpu().numpy(),
            record.num_views,
            record.first_seen_ns,
            record.last_seen_ns,
        )

    @cached_property
    def _scales(self) -> Tensor:
        return self.model.scales

    @cached_property
    def _opacities(self) -> Tensor:
        return self.model.opacities
