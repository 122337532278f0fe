"""Changes of the world, noticed: objects that are gone leave the map, what is new is told, what was moved keeps its id.

Every frame that is taken in is held against the map, also those that are not kept. `ChangeWatch` is a part of the
mapper, which calls it from its own thread.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from cgc_ros.frame import Frame
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.absent_objects import AbsentObject
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.events import ObjectEvent
from cgc_ros.mapping.existence import ExistenceTable, Presence
from cgc_ros.mapping.fresh_matter import FreshMatter
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.measured_clouds import measured_cloud
from cgc_ros.mapping.object_clouds import made_object
from cgc_ros.mapping.object_history import ObjectHistory
from cgc_ros.mapping.object_matter import take_out
from cgc_ros.mapping.part_segmenter import PartSegmenter
from cgc_ros.mapping.place_history import PlaceHistory, inside
from cgc_ros.mapping.relocation import Relocation
from cgc_ros.mapping.segmenter import MapSegmenter
from cgc_ros.mapping.silence import Silence
from cgc_ros.mapping.stale_matter import StaleMatter
from cgc_ros.mapping.view_comparison import ViewComparison, compare_view, large_patches, num_levels
from cgc_ros.rendering import mask_votes
from cgc_ros.segmentation.objects import MapObject

_LEAST_PIXELS = 0.3  # that a Gaussian takes in a view for the view to tell of it
_FORCED_AT_ONE_PLACE = 4  # keyframes of what changed, from a camera that stands still
_URGENT_NS = 2_000_000_000  # for which something new makes objects be updated at every keyframe
_DISPLACED = 0.5  # of an object's Gaussians that lie within something new: both cannot be there
_ASKED_AT_MOST = 6  # times that keyframes are asked about one object


@dataclass(frozen=True)
class FrameChange:
    """What a frame shows that the map does not."""

    keyframe: bool = False  # the frame should be kept for it
    new: np.ndarray | None = None  # [h, w] bool, small: something stands before what is mapped


class ChangeWatch:
    """Watches the objects of one map."""

    def __init__(
        self,
        model: GaussianModel,
        keyframes: KeyframeStore,
        segmenter: MapSegmenter,
        parts: PartSegmenter,
        config: MapperConfig,
        backend: str,
    ):
        self.model, self.keyframes, self.segmenter, self.parts = model, keyframes, segmenter, parts
        self.mapper_config, self.config, self.backend = config, config.change, backend
        self.up = np.asarray(config.up, dtype=np.float64)
        self.existence = ExistenceTable(self.config.existence)
        self.absent: dict[int, AbsentObject] = {}
        self.events: list[ObjectEvent] = []
        self.stale = StaleMatter()
        self.fresh = FreshMatter()
        self.silence = Silence(keyframes, segmenter, parts, self.config, backend)
        self.places = PlaceHistory(keyframes, self.config, backend)
        self.compared_ns: int | None = None
        self.forced_ns: int | None = None
        self.forced_here = 0
        segmenter.layer.reserved = lambda: self.absent.keys()
        segmenter.layer.apart = lambda: self.fresh.uids
        segmenter.fresh = self.fresh

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device."""
        self.backend = self.silence.backend = self.places.backend = backend
        for each in self.absent.values():
            each.matter.to(device)

    def history(self) -> ObjectHistory:
        """For a snapshot."""
        absent = [each.shown() for _, each in sorted(self.absent.items())]
        presences = {key: copy(each) for key, each in self.existence.of.items() if key not in self.absent}
        return ObjectHistory(tuple(self.events), tuple(each for each in absent if each is not None), presences)

    def saved(self) -> SavedState:
        """For a map file."""
        info = {
            "events": [each.to_json() for each in self.events],
            "absent": {key: each.saved().info for key, each in self.absent.items()},
            "to_renew": list(self.silence.to_renew),
        }
        absent = [SavedState(each.saved().arrays, {}).below(f"absent/{key}/") for key, each in self.absent.items()]
        own = SavedState({}, info)
        return SavedState.joined([own, *absent, self.existence.saved(), self.fresh.saved(), self.stale.saved()])

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; nothing has happened in files of before it was kept.

        KeyError, TypeError or ValueError where it garbles something.
        """
        info = state.info
        self.existence.restore(state)
        self.fresh.restore(state)
        self.events = [ObjectEvent.from_json(each) for each in info.get("events", [])]
        self.silence.await_renewal(map(int, info.get("to_renew", [])))
        self.stale.restore(state)
        for key, each in info.get("absent", {}).items():
            own = SavedState(state.within(f"absent/{key}/").arrays, each)
            self.absent[int(key)] = AbsentObject.restored(own, self.model.sh_degree, self.model.device)

    # ---- frames

    def observe(self, frame: Frame, novelty: float, scene_depth: float) -> FrameChange:
        """Hold a frame against the map before anything else is made of it. `novelty` is that of its pose
        (`KeyframeStore.novelty`).
        """
        if self.config.mode == "off" or len(self.model) == 0 or not self._is_due(frame, novelty):
            return FrameChange()
        if frame.depth is None:
            return FrameChange()
        self.compared_ns = frame.stamp_ns
        view = compare_view(self.model, frame, self.config.comparison, self.backend)
        counts = mask_votes(
            *self.model.geometry,
            view.camera,
            torch.from_numpy(view.telling).to(self.model.device),
            num_levels(self.config.comparison),
            backend=self.backend,
        )
        self._trust(counts)
        gone = self._hear(counts, frame)
        through, new = self._patches(view)
        self._settle(counts)
        self.segmenter.is_urgent = self.fresh.came_since(frame.stamp_ns - _URGENT_NS)
        for object_id in gone:
            counts = counts[self._remove(object_id, counts, frame, scene_depth)]
        if not gone:
            self._take_stale(view, through, frame)
        self._judge_next(frame, scene_depth)
        wanted = bool(gone) or self._may_force(frame, novelty, bool(through.any() or new.any()))
        if wanted:
            self.forced_ns = frame.stamp_ns
        widened = cv2.dilate(new.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return FrameChange(wanted, widened if new.any() else None)

    def _trust(self, counts: Tensor) -> None:
        """Note which Gaussians a view agrees with, and which not."""
        margins, level = len(self.config.comparison.margins), self.config.comparison.plain_level
        agrees, through = self._sides(counts, level)
        nearer = counts[:, margins + 1 + level :].sum(dim=1) > 0.5 * counts.sum(dim=1).clamp_min(2 * _LEAST_PIXELS)
        self.model.agreed += agrees.float() - (through | nearer).float()
        self.model.agreed.clamp_(0.0, self.config.comparison.most_views)

    def _patches(self, view: ViewComparison) -> tuple[np.ndarray, np.ndarray]:
        """Where a view shows what is behind the map, and something before what is surely there, and looks otherwise,
        [h, w] bool each.
        """
        margins, level = len(self.config.comparison.margins), self.config.comparison.plain_level
        behind = (view.levels > level) & (view.levels <= margins)
        before = (view.levels > margins + level) & view.settled
        least, share = self.config.arrival.changed_pixels, self.config.arrival.otherwise
        return large_patches(behind, view.differs, least, share), large_patches(before, view.differs, least, share)

    def seeded(self, keyframe: Keyframe, first_uid: int, new: np.ndarray | None = None) -> None:
        """A keyframe was seeded with Gaussians from `first_uid` on. Those that lie in `new` ([h, w] bool, of any size)
        stand where nothing stood, and so do those beside what came a moment ago.
        """
        is_recent = self.fresh.came_since(keyframe.stamp_ns - _URGENT_NS)
        if self.config.mode == "off" or (new is None and not is_recent):
            return
        rows = torch.nonzero(self.model.uids >= first_uid)[:, 0]
        means = self.model.means.detach().cpu().numpy()
        uids, added = self.model.uids.cpu().numpy(), means[rows.cpu().numpy()]
        sure = np.zeros(len(rows), bool) if new is None else inside(added, keyframe, new)
        fresh, before = sure.copy(), uids < first_uid
        if is_recent and before.any() and len(rows):
            _, nearest = cKDTree(means[before], balanced_tree=False, compact_nodes=False).query(added)
            fresh |= np.isin(uids[before][nearest], self.fresh.sure_uids)
        self.fresh.add(uids[rows.cpu().numpy()][fresh], keyframe.stamp_ns, sure[fresh])

    def _settle(self, counts: Tensor) -> None:
        """New matter that views agree with is there: keyframes of before say nothing any more of what is behind it."""
        if not self.fresh.is_waiting:
            return
        level, uids = self.config.comparison.plain_level, self.model.uids.cpu().numpy()
        agrees, through = (uids[side.cpu().numpy()] for side in self._sides(counts, level))
        settled, since_ns = self.fresh.hear(agrees, through, uids, self.config.fresh_views)
        if len(settled):
            rows = self.model.rows_of(torch.from_numpy(settled).to(self.model.device))
            self.silence.of(self.model.extract(rows), level, before_ns=since_ns, only_behind=True)

    def _is_due(self, frame: Frame, novelty: float) -> bool:
        if novelty >= 1.0 or self.compared_ns is None:
            return True
        return not 0 <= frame.stamp_ns - self.compared_ns < self.config.min_interval * 1e9

    def _may_force(self, frame: Frame, novelty: float, changed: bool) -> bool:
        """Whether a frame that shows something else than the map is kept for that alone."""
        if novelty >= self.mapper_config.keyframes.standing_still:
            self.forced_here = 0
        gap = self.config.arrival.keyframe_gap * 1e9
        if not changed or self.forced_here >= _FORCED_AT_ONE_PLACE:
            return False
        if self.forced_ns is not None and 0 <= frame.stamp_ns - self.forced_ns < gap:
            return False
        self.forced_here += 1
        return True

    # ---- what was there and is not

    def _hear(self, counts: Tensor, frame: Frame) -> list[int]:
        """Let a view ([N, L] pixels of each Gaussian by level) tell of every object; those that are gone by now."""
        records, ids = self.segmenter.layer.state.records, self.segmenter.object_ids()
        self.existence.forget_all_but(records.keys() | self.absent.keys())
        known = torch.nonzero(ids >= 0)[:, 0]
        sums = torch.zeros(max(records, default=0) + 1, counts.shape[1], device=counts.device)
        sums.index_add_(0, ids[known].to(torch.int64).clamp_max(len(sums) - 1), counts[known])
        of_objects = sums.cpu().numpy()
        heard = {key: self.existence.hear(key, of_objects[key], frame.stamp_ns) for key in records}
        return [
            key for key, is_gone in heard.items() if is_gone and not (records[key].background or records[key].pinned)
        ]

    def _remove(self, object_id: int, counts: Tensor | None, frame: Frame, scene_depth: float) -> Tensor:
        """An object is gone: its matter leaves the map, and keyframes say nothing any more of where they showed it.
        Which Gaussians stay, [N] bool.
        """
        own = self.segmenter.object_ids() == object_id
        stays = torch.ones_like(own)
        if not own.any():
            return stays
        level = self._level(object_id)
        shape = self._object(object_id, torch.nonzero(own)[:, 0], scene_depth)
        leaves = own
        if counts is not None:
            agrees, through = self._sides(counts, level)
            leaves = (own & ~agrees) | (through & ~own & self._around(own, scene_depth))
        rows = torch.nonzero(leaves)[:, 0]
        presence = self.existence.of[object_id]
        record = self.segmenter.layer.state.records[object_id]
        stays[rows] = False
        matter = take_out(self.model, rows)
        seen = [each for each in self.keyframes if each.stamp_ns <= presence.last_confirmed_ns]
        cloud = measured_cloud(matter, seen, shape, self.config, self.backend)
        self.silence.of(matter, level, until_ns=presence.last_confirmed_ns)
        self.absent[object_id] = AbsentObject("gone", record, shape, matter, presence, cloud)
        self.segmenter.withdraw(object_id)
        self._tell(frame, object_id, "removed", shape)
        return stays

    def _level(self, object_id: int) -> int:
        """The margin by which an object is told."""
        level = self.existence.level(object_id)
        return self.config.comparison.plain_level if level is None else level

    def _sides(self, counts: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Gaussians that a view mostly agrees with, and those that it mostly sees through, [N] bool each."""
        margins = (counts.shape[1] - 1) // 2
        through = counts[:, 1 + level : margins + 1].sum(dim=1)
        agrees = counts.sum(dim=1) - through - counts[:, margins + 1 + level :].sum(dim=1)
        least = torch.full_like(agrees, _LEAST_PIXELS)
        return agrees > torch.maximum(through, least), through > torch.maximum(agrees, least)

    def _object(self, object_id: int, rows: Tensor, scene_depth: float) -> MapObject | None:
        snapshot = self.mapper_config.snapshot
        solid = rows[self.model.opacities.detach()[rows] >= 0.5 * snapshot.solid_opacity]
        spacing = snapshot.point_spacing * scene_depth
        return made_object(object_id, self.model, solid.cpu().numpy(), spacing, self.up, snapshot)

    def _around(self, own: Tensor, scene_depth: float) -> Tensor:
        """Gaussians within or right beside the box of some ([N] bool), [N] bool."""
        means = self.model.means.detach()
        reach = self.config.relocation.tolerance * scene_depth
        low, high = means[own].amin(dim=0) - reach, means[own].amax(dim=0) + reach
        return ((means >= low) & (means <= high)).all(dim=1)

    def _take_stale(self, view: ViewComparison, patches: np.ndarray, frame: Frame) -> None:
        """Matter that is no object for sure, seen through again and again, leaves the map."""
        if not patches.any() and len(self.stale) == 0:
            return
        level, margins = self.config.comparison.plain_level, len(self.config.comparison.margins)
        behind = (view.levels > 0) & (view.levels <= margins)
        counts = mask_votes(
            *self.model.geometry,
            view.camera,
            torch.from_numpy(np.where(behind & ~patches, -1, view.levels).astype(np.int32)).to(self.model.device),
            num_levels(self.config.comparison),
            backend=self.backend,
        )
        ids = self.segmenter.object_ids()
        least = self.config.existence.confirmations
        sure = [key for key, each in self.existence.of.items() if each.confirmations >= least]
        owned = torch.isin(ids, torch.tensor(sure, dtype=ids.dtype, device=ids.device))
        agrees, through = self._sides(counts, level)
        through &= ~owned
        uids = self.model.uids.cpu().numpy()
        seen, refuted = uids[through.cpu().numpy()], uids[(agrees | owned).cpu().numpy()]
        stale = self.stale.hear(seen, refuted, uids, self.config.stale_views)
        if len(stale):
            rows = self.model.rows_of(torch.from_numpy(stale).to(self.model.device))
            matter = take_out(self.model, rows[rows >= 0])
            self.silence.of(matter, level, before_ns=frame.stamp_ns)

    # ---- what is there and was not

    def _judge_next(self, frame: Frame, scene_depth: float) -> None:
        """Ask the keyframes about one object of which it is not known whether it is new."""
        for object_id, record in self.segmenter.layer.state.records.items():
            presence = self.existence.of.get(object_id)
            if presence is None or presence.judged or record.background:
                continue
            if presence.confirmations < self.config.arrival.confirmations * (1 + presence.asked):
                continue
            rows = torch.nonzero(self.segmenter.object_ids() == object_id)[:, 0]
            if len(rows) == 0:
                continue
            presence.asked += 1
            found = self.places.judged(self.model.extract(rows), self._level(object_id))
            presence.judged = found.is_known or presence.asked >= _ASKED_AT_MOST
            if found.since_ns is not None:
                self._arrive(object_id, rows, found.since_ns, frame, scene_depth)
            return

    def _arrive(self, object_id: int, rows: Tensor, since_ns: int, frame: Frame, scene_depth: float) -> None:
        """Something is new: it is an object that was elsewhere, or it has appeared."""
        shape = self._object(object_id, rows, scene_depth)
        if shape is None:
            return
        matter = self.model.extract(rows)
        self.silence.of(matter, self._level(object_id), before_ns=since_ns)
        seen = [each for each in self.keyframes if each.stamp_ns >= since_ns]
        cloud = measured_cloud(matter, seen, shape, self.config, self.backend)
        for displaced in self._displaced(object_id, shape, seen):
            self._remove(displaced, None, frame, scene_depth)
        found = self.places.identified(cloud, self.absent, seen, self.up, scene_depth)
        if found is None:
            self._tell(frame, object_id, "appeared", shape)
        else:
            self._return(object_id, *found, shape, frame)

    def _displaced(self, object_id: int, shape: MapObject, seen: list[Keyframe]) -> list[int]:
        """Objects in whose place something new stands, that keyframes have `seen`: it is within them, or what shows of
        them beside it is seen through.
        """
        ids, found = self.segmenter.object_ids(), []
        reach = float(np.linalg.norm(shape.box.size))
        for other, record in self.segmenter.layer.state.records.items():
            presence = self.existence.of.get(other)
            if other == object_id or record.background or presence is None or not presence.confirmations:
                continue
            rows = torch.nonzero(ids == other)[:, 0]
            means = self.model.means.detach()[rows].cpu().numpy()
            if not len(means) or np.linalg.norm(np.median(means, axis=0) - shape.box.center) > reach:
                continue
            local = np.abs((means - shape.box.center) @ shape.box.rotation)
            within = float((local <= 0.5 * shape.box.size + 1e-9).all(axis=1).mean())
            is_unseen = presence.last_confirmed_ns < seen[0].stamp_ns
            if (is_unseen and within >= _DISPLACED) or self.places.is_refuted(
                self.model.extract(rows), self._level(other), seen[-3:]
            ):
                found.append(other)
        return found

    def _return(self, new_id: int, object_id: int, found: Relocation, shape: MapObject, frame: Frame) -> None:
        """Something new is an object that was gone: it goes on under its old id."""
        del self.absent[object_id]
        self.segmenter.renumber(new_id, object_id)
        presence = self.existence.of.pop(new_id, Presence())
        presence.judged = True
        self.existence.of[object_id] = presence
        self._tell(frame, object_id, "returned", shape, found.transform)

    def _tell(
        self, frame: Frame, object_id: int, kind: str, shape: MapObject | None, transform: np.ndarray | None = None
    ) -> None:
        position = np.zeros(3) if shape is None else np.asarray(shape.box.center, dtype=np.float64)
        self.events.append(ObjectEvent(frame.stamp_ns, frame.name, object_id, kind, position, transform))
