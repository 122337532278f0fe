"""`--recipe paper`: Contrastive Gaussian Clustering as published, offline, to compare the incremental mapper with.

All frames first, then training on 3D Gaussian Splatting's schedule, then objects by clustering the Gaussians' features.
docs/paper_recipe.md says what differs from the publication, and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cgc_ros.frame import UNLABELLED, Frame
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.look import look_at
from cgc_ros.mapping.mapper import FrameOutcome, Mapper, OnDevice
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.mapping.training import StepReport
from cgc_ros.paper.adaptive_density import ScreenGradients, adapt_density, reset_opacities, scene_extent
from cgc_ros.paper.initial_points import initial_gaussians
from cgc_ros.paper.training import PaperTrainer, ScreenMotion
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.background import is_background, object_length
from cgc_ros.segmentation.feature_clusters import cluster_features, label_features, nearest_centroid
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState

SURVEY_WIDTH = 160  # pixels: of the label images that tell in which views an object is seen
MIN_SEEN_SHARE = 5e-4  # of a view's pixels, from which an object counts as seen in it


@dataclass(frozen=True)
class PaperSnapshot(MapSnapshot):
    """A map whose labels come from its rendered features."""

    centroids: Tensor  # [C, 16] unit
    centroid_ids: Tensor  # [C] int32 object ids

    @torch.no_grad()
    def segment(self, camera: Camera) -> np.ndarray:
        """Object ids of any view by the nearest centroid to each pixel's feature, [H, W] uint16, 65535 unlabelled."""
        view = render_model(self.model, camera.to(self.model.device), self.backend, features=True)
        known = self.config.known_alpha
        labels = label_features(view.features, view.alpha, self.centroids, self.centroid_ids, known)
        return torch.where(labels >= 0, labels, UNLABELLED).cpu().numpy().astype(np.uint16)


class PaperMapper(Mapper):
    """The mapper's interface around an offline run.

    Frames are only collected, all of them, until none has come for `start_after` seconds. Then every `step` trains,
    until the run's end; after it `step` returns None. A restored map is a finished run.
    """

    edits_objects = False
    trainer: PaperTrainer  # type: ignore[assignment]  # in place of the other, never beside it

    def __init__(
        self,
        config: MapperConfig | None = None,
        budget: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`budget`: seconds from the first frame to the end of the run, which the schedule is then scaled to; None:
        `iterations` steps, however long they take.
        """
        config = config or MapperConfig()
        self.budget, self.clock = budget, clock
        super().__init__(replace(config, recipe="paper", sh_degree=config.paper.sh_degree))

    @classmethod
    def for_budget(cls, config: MapperConfig, budget: float | None) -> PaperMapper:
        """A mapper whose schedule ends when a run of `budget` seconds does."""
        return cls(config, budget)

    def reset(self) -> None:
        """Forget everything: an empty map, as after construction."""
        super().reset()
        config = self.config
        self.trainer = PaperTrainer(self.model, config.paper, self.backend, config.seed)
        self.gradients = ScreenGradients(self.model)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.progress = 0.0  # 0..1 of the run
        self.finished = False
        self.extent = 0.0  # metres, of the cameras' positions; 0 until training has begun
        self._first_frame = self._last_frame = self._begun = 0.0  # by the clock
        self._order: list[int] = []  # keyframes still to come in this round
        self._last = {"density": (0, 0.0), "reset": (0, 0.0), "clusters": (0, 0.0)}  # step, progress

    def add_frame(self, frame: Frame) -> FrameOutcome:
        """Keep a frame for training; every one that shows some of the world is a keyframe. FrameError where it cannot
        be mapped.
        """
        frame.check()
        self.stamp_ns = max(self.stamp_ns, frame.stamp_ns)
        self._last_frame = self.clock()
        if frame.ignore is not None and 1.0 - frame.ignore.mean() < self.config.keyframes.min_world:
            return FrameOutcome("tracked")
        if len(self.keyframes) == 0:
            self._first_frame = self._last_frame
        with self.work.spend("frames"):
            look = look_at(self.model, frame, self.config.keyframes, self.backend)
            keyframe = self.keyframes.add(frame, self._median_depth(frame, look))
        return FrameOutcome("keyframe", keyframe_id=keyframe.id)

    def step(self) -> StepReport | None:
        """One training step; None while frames still come, and once the run is over."""
        if self.finished or len(self.keyframes) == 0:
            return None
        if self.extent == 0.0:
            if self.clock() - self._last_frame < self.config.paper.start_after:
                return None
            with self.work.spend("stereo"):
                self._begin()
        if len(self.model) == 0:
            return None
        self.steps += 1
        with self.work.spend("train"):
            keyframe = self._next_view()
            report, motion = self.trainer.step(keyframe, self.steps, self.progress, self.extent)
        keyframe.steps += 1
        self._note_psnr(report)
        self.progress = self._progress()
        with self.work.spend("other"):
            self._control_density(motion)
        self.finished = self.progress >= 1.0
        if self.finished or self._due("clusters", self.config.paper.cluster_every):
            with self.work.spend("objects"):
                self.update_objects()
        return report

    def update_objects(self) -> None:
        """Cluster the Gaussians by feature, give every one its nearest cluster, and keep the ids that objects had."""
        self._last["clusters"] = (self.steps, self.progress)
        paper, layer = self.config.paper, self.segmenter.layer
        features = self.model.features.detach()
        clusters = cluster_features(features, paper.cluster_sample, paper.cluster_share, self.rng)
        if len(clusters.centroids) == 0:
            return
        nearest = nearest_centroid(features, clusters.centroids).cpu().numpy()
        rows, row_of = np.unique(nearest, return_inverse=True)  # clusters that keep any Gaussian, without gaps
        uids = self.model.uids.cpu().numpy()
        ids = layer.registry.assign(row_of, uids)
        self.segmenter.prototypes, self.segmenter.prototype_ids = clusters.centroids[torch.from_numpy(rows)], ids
        confidence = clusters.confidence[rows]
        means = self.model.means.detach().cpu().numpy()
        lengths = [object_length(means[row_of == row]) / max(self.scene_depth, 1e-9) for row in range(len(rows))]
        records = self._survey(
            {
                object_id: (share, length)
                for object_id, share, length in zip(ids.tolist(), confidence.tolist(), lengths, strict=True)
                if object_id >= 0
            },
        )
        found = ObjectState(
            uids=uids.copy(),
            ids=ids[row_of].astype(np.int32),
            confidence=confidence[row_of],
            records=records,
            undecided=np.zeros(len(uids), dtype=bool),
        )
        layer.publish(found, means)

    def snapshot(self) -> PaperSnapshot:
        """An immutable copy of the map as it is now; labels are those of the last clustering's centroids."""
        base = super().snapshot()
        values = {field.name: getattr(base, field.name) for field in fields(base)}
        centroids, ids = self._centroids()
        if len(ids):
            values["object_ids"] = ids[nearest_centroid(base.model.features, centroids)]
        return PaperSnapshot(**values, centroids=centroids.clone(), centroid_ids=ids)

    def save(self, path: str | Path) -> None:
        """Write the map with its objects as of now; raises MapFileError."""
        self.refresh_objects()
        super().save(path)

    def refresh_objects(self) -> None:
        """Cluster the features as they are now."""
        if len(self.model) and self._last["clusters"][0] != self.steps:
            self.update_objects()

    def restore(self, path: str | Path) -> None:
        """Replace this map by a file's, a finished run; raises MapFileError and then stays as it was."""
        super().restore(path)
        self.finished, self.progress = True, 1.0
        self._last["clusters"] = (self.steps, 1.0)

    def _on_device(self) -> list[OnDevice]:
        return [*super()._on_device(), self.gradients]

    def _begin(self) -> None:
        """All frames are here: place the first Gaussians and start the schedule."""
        keyframes = list(self.keyframes)
        positions = torch.from_numpy(np.stack([keyframe.world_from_camera[:3, 3] for keyframe in keyframes]))
        seeds = initial_gaussians(keyframes, self.config.paper, self.depth_source, self.rng)
        cap = self.config.density.max_gaussians
        if len(seeds) > cap:
            seeds = seeds.select(torch.from_numpy(np.sort(self.rng.choice(len(seeds), cap, replace=False))))
        self.model.append(seeds, 0, self.generator)
        self.gradients.clear()
        for keyframe in keyframes:
            depth = keyframe.world_depth()
            if depth is not None:
                self._note_depth(keyframe, depth)
        # Cameras in one place have no extent; the scene's distance takes its part then.
        self.extent = scene_extent(positions) or self.scene_depth or 1.0
        self._begun = self.clock()

    def _progress(self) -> float:
        by_steps = self.steps / self.config.paper.iterations
        if self.budget is None:
            return min(1.0, by_steps)
        time_for_training = max(self.budget - (self._begun - self._first_frame), 1e-3)
        return min(1.0, max(by_steps, (self.clock() - self._begun) / time_for_training))

    def _due(self, event: str, every: float, min_steps: int = 1) -> bool:
        """True, and noted, where `event` was last `every` of the run and `min_steps` ago."""
        step, progress = self._last[event]
        if self.progress - progress < every - 1e-9 or self.steps - step < min_steps:
            return False
        self._last[event] = (self.steps, self.progress)
        return True

    def _next_view(self) -> Keyframe:
        """Every keyframe once, in random order, then all over again."""
        if not self._order:
            self._order = self.rng.permutation(list(self.keyframes.keyframes)).tolist()
        return self.keyframes.keyframes[self._order.pop()]

    def _control_density(self, motion: ScreenMotion) -> None:
        paper = self.config.paper
        if self.progress >= paper.densify_until:
            return
        if len(self.gradients.sums) != len(self.model):  # rows were removed elsewhere, for want of memory
            self.gradients.clear()
        else:
            self.gradients.add(motion.gradient, motion.visible, motion.width, motion.height)
        if self._due("density", paper.densify_every, paper.densify_min_steps) and self.progress >= paper.densify_from:
            adapt_density(
                self.model,
                self.gradients,
                paper,
                extent=self.extent,
                cap=self.config.density.max_gaussians,
                step=self.steps,
                prune_large=self._last["reset"][0] > 0,
                generator=self.generator,
            )
        if self._due("reset", paper.reset_every, paper.reset_min_steps):
            reset_opacities(self.model, paper.reset_opacity)

    def _centroids(self) -> tuple[Tensor, Tensor]:
        """[C, 16] unit and their object ids [C] int32."""
        ids = torch.from_numpy(self.segmenter.prototype_ids.astype(np.int32)).to(self.device)
        return self.segmenter.prototypes.to(self.device), ids

    def _survey(self, objects: dict[int, tuple[float, float]]) -> dict[int, ObjectRecord]:
        """What the keyframes see of every object (id -> confidence, relative length): how often, when, and whether it
        is background.
        """
        sightings: dict[int, list[tuple[int, bool, float]]] = {}  # id -> stamp, touches the border, share of the view
        centroids, ids = self._centroids()
        for keyframe in self.keyframes:
            camera = keyframe.camera(1.0, self.device)
            camera = camera.scaled_to(SURVEY_WIDTH, max(1, round(SURVEY_WIDTH * camera.height / camera.width)))
            view = render_model(self.model, camera, self.backend, features=True)
            known = self.config.snapshot.known_alpha
            labels = label_features(view.features, view.alpha, centroids, ids, known).cpu().numpy()
            if keyframe.ignore is not None:
                labels[touched_resized(keyframe.ignore, camera.width, camera.height)] = -1
            rim = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
            for object_id, count in zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True):
                if count >= MIN_SEEN_SHARE * labels.size:
                    sighting = (keyframe.stamp_ns, int(object_id) in rim, count / labels.size)
                    sightings.setdefault(int(object_id), []).append(sighting)
        records = {}
        for object_id, seen in sightings.items():
            stamps, cut, share = (np.array(column) for column in zip(*seen, strict=True))
            confidence, length = objects[object_id]
            layer = self.segmenter.layer
            record = layer.state.records.get(object_id)
            records[object_id] = ObjectRecord(
                object_id,
                background=is_background(length, cut, share, record.background if record else None, layer.background),
                confidence=confidence,
                num_views=len(seen),
                first_seen_ns=int(stamps.min()),
                last_seen_ns=int(stamps.max()),
            )
        return records
