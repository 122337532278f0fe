"""An immutable picture of the map that topics, services, files and the viewer read while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import UNLABELLED
from cgc_ros.gaussians.model import FrozenGaussians
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.mapping.config import SnapshotConfig
from cgc_ros.mapping.exposure import ExposureTrack
from cgc_ros.mapping.object_clouds import ObjectClouds
from cgc_ros.mapping.object_history import ObjectHistory
from cgc_ros.rendering import Camera, label_image
from cgc_ros.segmentation.object_state import GaussianIds, ObjectRecord
from cgc_ros.segmentation.objects import MapObject
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
    clouds: ObjectClouds  # the map's, of objects and
    part_clouds: ObjectClouds  # of parts: what was made for the last snapshot serves the next
    history: ObjectHistory

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
    def things(self) -> GaussianIds:
        """The solid Gaussians of all objects that are not background, and whose they are: to compare two snapshots by
        without making clouds.
        """
        things = torch.tensor([each.id for each in self.records.values() if not each.background], dtype=torch.int32)
        ids = self.object_ids.cpu()
        rows = torch.isin(ids, things) & (self.model.opacities >= self.config.solid_opacity).cpu()
        return GaussianIds(self.model.uids.cpu()[rows].numpy(), ids[rows].numpy())

    @cached_property
    def objects(self) -> tuple[MapObject, ...]:
        """Every object, by id; computed at first use. Those that have not changed since the objects of an earlier
        snapshot of this map were asked for are the same instances.
        """

        def told(object_id: int) -> dict:
            label, confidence = self.names.get(object_id, ("", 0.0))
            record = self.records[object_id]
            known = {"background": record.background, "pinned": record.pinned}
            return known | {"label": label, "label_confidence": confidence} | self.history.told(object_id)

        return self._clouds(self.clouds, self.object_ids, self.records, told)

    @cached_property
    def absent(self) -> tuple[MapObject, ...]:
        """Objects that the map knows and that are not in the world now, gone or held, as they last stood; by id."""
        names = {each.id: self.names.get(each.id, ("", 0.0)) for each in self.history.absent}
        return tuple(
            replace(each, label=names[each.id][0], label_confidence=names[each.id][1]) for each in self.history.absent
        )

    @cached_property
    def parts(self) -> tuple[MapObject, ...]:
        """Every part of every object, by part id; objects that are not cut have none. Computed at first use."""

        def told(part_id: int) -> dict:
            parent_id = self.part_records[part_id].object_id
            whole = self.records.get(parent_id)
            return {"background": whole is not None and whole.background, "parent_id": parent_id}

        return self._clouds(self.part_clouds, self.part_ids, self.part_records, told)

    def _clouds(
        self, clouds: ObjectClouds, ids: Tensor, records: dict, told: Callable[[int], dict]
    ) -> tuple[MapObject, ...]:
        spacing = self.config.point_spacing * self.scene_depth
        return clouds.objects(self.model, ids, records, told, spacing, self.up, self.config)
