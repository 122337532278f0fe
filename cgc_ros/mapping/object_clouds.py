"""Objects of snapshots as users see them, made anew only where their Gaussians have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.surface import plain_colors, surface_points
from cgc_ros.mapping.config import SnapshotConfig
from cgc_ros.segmentation.membership import rows_among
from cgc_ros.segmentation.object_state import ObjectRecord
from cgc_ros.segmentation.objects import MapObject, oriented_box, without_floaters
from cgc_ros.segmentation.parts import PartRecord


@dataclass(frozen=True)
class _Made:
    """The Gaussians that objects were last made of."""

    uids: np.ndarray  # [S] int64 sorted: those of all objects
    ids: np.ndarray  # [S] object that each was put into
    shapes: np.ndarray  # [S, 9] float32: means, scales (metres) and colours (0..255) then
    spacing: float  # metres
    up: np.ndarray  # [3]


class ObjectClouds:
    """What was made of objects for the last snapshot, for the next one. Thread-safe.

    The same `MapObject` comes again where next to nothing of it has changed: at most `stale_share` of its Gaussians
    came, left, or moved, grew or changed colour beyond `stale_motion` and `stale_color`. What changes in the record
    alone makes a new one with the same cloud.
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._made: _Made | None = None
        self._objects: dict[int, MapObject | None] = {}

    def objects(
        self,
        model: GaussianModel,
        ids: Tensor,  # [N] object of each Gaussian, -1 = none
        records: Mapping[int, ObjectRecord | PartRecord],
        told: Callable[[int], dict],  # of an id, what a MapObject says of it beside its record, by field
        spacing: float,  # metres between points
        up: np.ndarray,  # [3] unit
        config: SnapshotConfig,
    ) -> tuple[MapObject, ...]:
        """Objects of a snapshot, ids rising; those with too few solid Gaussians to have a shape are left out."""
        with self._making:
            known = np.array(sorted(records), dtype=np.int64)
            owners = np.where(np.isin(ids.cpu().numpy(), known), ids.cpu().numpy(), -1)
            solid = np.flatnonzero((model.opacities >= config.solid_opacity).cpu().numpy() & (owners >= 0))
            now = _Made(model.uids.cpu().numpy()[solid], owners[solid], _shapes(model, solid), spacing, up)
            stale = self._stale(now, config)
            order = np.argsort(now.ids, kind="stable")
            edges = np.searchsorted(now.ids[order], known), np.searchsorted(now.ids[order], known, side="right")
            found: dict[int, MapObject | None] = {}
            for each, begin, end in zip(known.tolist(), *edges, strict=True):
                if each in stale or each not in self._objects:
                    found[each] = made_object(each, model, solid[order[begin:end]], spacing, up, config)
                else:
                    found[each] = self._objects[each]
                found[each] = _told(found[each], records[each], told(each))
            self._note(now, stale | (found.keys() - self._objects.keys()))
            self._objects = found
            return tuple(each for each in found.values() if each is not None)

    def _stale(self, now: _Made, config: SnapshotConfig) -> set[int]:
        """Objects that are to be made anew."""
        made = self._made
        everything = set(np.unique(now.ids).tolist())
        if made is None or not np.array_equal(made.up, now.up):
            return everything
        if abs(now.spacing - made.spacing) > config.stale_motion * made.spacing:
            return everything
        at = rows_among(made.uids, now.uids)
        same = (at >= 0) & (made.ids[at] == now.ids if len(made.ids) else False)
        moved = np.abs(now.shapes[same] - made.shapes[at[same]])
        reach = config.stale_motion * made.spacing
        same[same] = (moved[:, :6].max(axis=1, initial=0) <= reach) & (
            moved[:, 6:].max(axis=1, initial=0) <= config.stale_color
        )
        count = max(int(now.ids.max(initial=0)), int(made.ids.max(initial=0))) + 1
        before, after, kept = (np.bincount(each, minlength=count) for each in (made.ids, now.ids, now.ids[same]))
        changed = before + after - 2 * kept
        return set(np.flatnonzero(changed > config.stale_share * after).tolist())

    def _note(self, now: _Made, anew: set[int]) -> None:
        """Objects made `anew` are compared with how they are now from here on, others with how they were."""
        made = self._made
        if made is None:
            self._made = now
            return
        fresh = np.isin(now.ids, list(anew))
        held = ~np.isin(made.ids, list(anew)) & ~np.isin(made.uids, now.uids[fresh])
        uids = np.concatenate([now.uids[fresh], made.uids[held]])
        order = np.argsort(uids)
        ids = np.concatenate([now.ids[fresh], made.ids[held]])[order]
        shapes = np.concatenate([now.shapes[fresh], made.shapes[held]])[order]
        spacing = now.spacing if held.sum() == 0 else made.spacing
        self._made = _Made(uids[order], ids, shapes, spacing, now.up)


def _shapes(model: GaussianModel, rows: np.ndarray) -> np.ndarray:
    index = torch.from_numpy(rows).to(model.device)
    colors = plain_colors(model.sh[index]).float()
    return torch.cat([model.means[index], model.scales[index], colors], dim=1).detach().cpu().numpy()


def _told(found: MapObject | None, record: ObjectRecord | PartRecord, told: dict) -> MapObject | None:
    """The object as its record has it; the same one where that says nothing new."""
    if found is None:
        return None
    fields = told | {
        "confidence": record.confidence,
        "num_views": record.num_views,
        "first_seen_ns": record.first_seen_ns,
        "last_seen_ns": record.last_seen_ns,
    }
    return found if all(getattr(found, name) == value for name, value in fields.items()) else replace(found, **fields)


def made_object(
    object_id: int, model: GaussianModel, rows: np.ndarray, spacing: float, up: np.ndarray, config: SnapshotConfig
) -> MapObject | None:
    """One object from its solid Gaussians; None where they are too few to have a shape."""
    rows = rows[without_floaters(model.means[torch.from_numpy(rows)].cpu().numpy(), config.floaters)]
    if len(rows) < config.min_object_gaussians:
        return None
    index = torch.from_numpy(rows).to(model.device)
    points, source = surface_points(
        model.means[index], model.quats[index], model.scales[index], spacing, config.max_points
    )
    colors = plain_colors(model.sh[index])[source]
    box = oriented_box(points.cpu().numpy(), up)
    return MapObject(object_id, "", 0.0, 0.0, False, box, points.cpu().numpy(), colors.cpu().numpy(), 0, 0, 0)
