"""An immutable picture of the map that topics, services, files and the viewer read while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import UNLABELLED
from cgc_ros.gaussians.model import FrozenGaussians
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.gaussians.surface import plain_colors, surface_points
from cgc_ros.mapping.config import SnapshotConfig
from cgc_ros.mapping.exposure import ExposureTrack
from cgc_ros.rendering import Camera, label_image
from cgc_ros.segmentation.object_layer import ObjectRecord
from cgc_ros.segmentation.objects import MapObject, oriented_box, without_floaters
from cgc_ros.segmentation.parts import PartRecord


@dataclass(frozen=True)
class ViewRender:
    """The map as a camera at some pose would see it, at that camera's size."""

    color: np.ndarray  # [H, W, 3] uint8 RGB
    depth: np.ndarray  # [H, W] float32, metres along the optical axis, NaN where opacity is below 0.5
    alpha: np.ndarray  # [H, W] float32, opacity 0..1


@dataclass(frozen=True)
class MapSnapshot:
    """The map at one moment. Nothing in it changes; every method may be called from any thread."""

    version: int  # grows with each snapshot
    stamp_ns: int  # of the newest frame in the map
    model: FrozenGaussians
    object_ids: Tensor  # [N] int32, -1 = none
    records: dict[int, ObjectRecord]
    names: dict[int, tuple[str, float]]  # object id -> name and its confidence
    up: np.ndarray  # [3] unit, map frame
    scene_depth: float  # metres, typical distance from the camera to what it sees
    backend: str
    part_ids: Tensor  # [N] int32, -1 = none
    part_records: dict[int, PartRecord]
    exposures: ExposureTrack
    config: SnapshotConfig

    @property
    def num_gaussians(self) -> int:
        return len(self.model)

    def render(self, camera: Camera, stamp_ns: int | None = None) -> ViewRender:
        """Colour, depth and opacity of any view; with a stamp, as bright as the camera took pictures at that time."""
        out = render_model(self.model, camera.to(self.model.device), self.backend, color=True, depth=True)
        depth = torch.where(out.alpha >= self.config.known_alpha, out.depth, torch.nan)
        color = out.color
        if stamp_ns is not None:
            gain, offset = (torch.from_numpy(each).to(color) for each in self.exposures.at(stamp_ns))
            color = color * gain + offset
        color = (color.clamp(0, 1) * 255).round().to(torch.uint8)
        return ViewRender(color.cpu().numpy(), depth.cpu().numpy(), out.alpha.cpu().numpy())

    def segment(self, camera: Camera) -> np.ndarray:
        """Lasting object ids of any view, [H, W] uint16, 65535 unlabelled."""
        return self._label(camera, self.object_ids)

    def segment_parts(self, camera: Camera) -> np.ndarray:
        """Lasting part ids of any view, [H, W] uint16, 65535 where no part of an object is known."""
        return self._label(camera, self.part_ids)

    @torch.no_grad()
    def _label(self, camera: Camera, ids: Tensor) -> np.ndarray:
        labels, confidence, _ = label_image(
            *self.model.geometry, camera.to(self.model.device), ids, backend=self.backend
        )
        known = (labels >= 0) & (confidence >= self.config.min_label_share)
        return torch.where(known, labels, UNLABELLED).cpu().numpy().astype(np.uint16)

    @cached_property
    def objects(self) -> tuple[MapObject, ...]:
        """Every object, by id; computed at first use."""
        found = []
        for object_id, rows in self._solid_rows(self.object_ids, self.records):
            record, name = self.records[object_id], self.names.get(object_id, ("", 0.0))
            found.append(self._object(object_id, rows, record, name, record.background))
        return tuple(item for item in found if item is not None)

    @cached_property
    def parts(self) -> tuple[MapObject, ...]:
        """Every part of every object, by part id; objects that are not cut have none. Computed at first use."""
        found = []
        for part_id, rows in self._solid_rows(self.part_ids, self.part_records):
            record = self.part_records[part_id]
            whole = self.records.get(record.object_id)
            background = whole is not None and whole.background
            found.append(self._object(part_id, rows, record, ("", 0.0), background, record.object_id))
        return tuple(item for item in found if item is not None)

    def _solid_rows(self, ids: Tensor, records: dict) -> list[tuple[int, np.ndarray]]:
        """The solid Gaussians of each recorded id, ids rising."""
        solid = torch.where(self.model.opacities >= self.config.solid_opacity, ids, -1).cpu().numpy()
        order = np.argsort(solid, kind="stable")
        known = np.array(sorted(records), dtype=solid.dtype)
        begins = np.searchsorted(solid[order], known)
        ends = np.searchsorted(solid[order], known, side="right")
        return [(int(each), order[begin:end]) for each, begin, end in zip(known, begins, ends, strict=True)]

    def _object(
        self,
        object_id: int,
        rows: np.ndarray,
        record: ObjectRecord | PartRecord,
        name: tuple[str, float],
        background: bool,
        parent_id: int = 0,
    ) -> MapObject | None:
        """One object or part from its solid Gaussians; None where they are too few to have a shape."""
        rows = rows[without_floaters(self.model.means[rows].cpu().numpy(), self.config.floaters)]
        if len(rows) < self.config.min_object_gaussians:
            return None
        index = torch.from_numpy(rows).to(self.model.device)
        points, source = surface_points(
            self.model.means[index],
            self.model.quats[index],
            self.model.scales[index],
            self.config.point_spacing * self.scene_depth,
            self.config.max_points,
        )
        colors = plain_colors(self.model.sh[index])[source]
        box = oriented_box(points.cpu().numpy(), self.up)
        return MapObject(
            object_id,
            name[0],
            name[1],
            record.confidence,
            background,
            box,
            points.cpu().numpy(),
            colors.cpu().numpy(),
            record.num_views,
            record.first_seen_ns,
            record.last_seen_ns,
            parent_id,
        )
