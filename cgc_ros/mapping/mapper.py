"""The incremental mapper: frames in, a trained and segmented Gaussian map out. One thread owns it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from cgc_ros.calibration.depth_parallax import DepthParallaxWatch
from cgc_ros.frame import Frame, FrameError
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.storage import MapFileError, SavedState
from cgc_ros.mapping import nominal
from cgc_ros.mapping.budget import WorkBudget
from cgc_ros.mapping.change import ChangeWatch
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.density import least_contributing, prune, remove_rows
from cgc_ros.mapping.depth_source import DepthSource, SeedDepth
from cgc_ros.mapping.exposure import ExposureTrack
from cgc_ros.mapping.growth import MapGrowth
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.lone_gaussians import LoneGaussians
from cgc_ros.mapping.look import Look, look_at
from cgc_ros.mapping.map_file import load_map, save_map
from cgc_ros.mapping.object_clouds import ObjectClouds
from cgc_ros.mapping.part_segmenter import PartSegmenter
from cgc_ros.mapping.segmenter import MapSegmenter
from cgc_ros.mapping.side_work import SideWork
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.mapping.training import PhotometricTrainer, StepReport, rate_factor, step_scale
from cgc_ros.mapping.vote_images import storable
from cgc_ros.mapping.work_times import WorkTimes
from cgc_ros.rendering import choose_backend, device_of
from cgc_ros.segmentation.object_names import ObjectNames

MEMORY_RELIEF = 0.7  # of the Gaussians stay when memory ran out
MIN_CAP = 1000
MAX_MEMORY_FAILURES = 2  # on a GPU before mapping moves to the CPU
PSNR_MEMORY = 0.98  # of the running training PSNR
UNMAPPED_FRAMES = 8  # without any map after which something is wrong
BACKGROUND_KEYFRAMES = 50  # over which the background's colour is a running mean


@dataclass(frozen=True)
class FrameOutcome:
    """What became of a frame that was taken in: a `keyframe` is held and trained on, a `tracked` one showed nothing new
    and is let go.
    """

    kind: str  # keyframe | tracked
    keyframe_id: int | None = None  # of a keyframe: what its masks are handed in under
    evicted_id: int | None = None  # keyframe that left to make room for it


class OnDevice(Protocol):
    """A component that computes on the map's device."""

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device, with the rendering backend that runs there."""
        ...


class Mapper:
    """Trains a map on keyframes chosen from a stream of posed frames; see MapperConfig for every number."""

    by_clock = False  # True: the budget counts seconds as they pass, False: what work takes on a reference machine
    edits_objects = True  # False where objects are made anew for every view
    finished = False  # True once a schedule that ends (the paper's) is over; a stream's never is

    def __init__(self, config: MapperConfig | None = None):
        self.config = config or MapperConfig()
        self.backend = choose_backend(self.config.backend)
        self.device = device_of(self.backend)
        self.reset()

    @classmethod
    def for_budget(cls, config: MapperConfig, budget: float | None) -> Mapper:
        """A mapper for a run of `budget` seconds; a stream's schedule does not depend on it."""
        return cls(config)

    def reset(self) -> None:
        """Forget everything: an empty map, as after construction."""
        config = self.config
        self.model = GaussianModel(config.sh_degree, self.device)
        self.keyframes = KeyframeStore(config.keyframes, config.training)
        self.trainer = PhotometricTrainer(self.model, config.training, self.backend)
        self.segmenter = MapSegmenter(self.model, self.keyframes, config.segmentation, self.backend, config.seed)
        self.parts = PartSegmenter(self.model, self.keyframes, config.segmentation, self.backend)
        self.change = ChangeWatch(self.model, self.keyframes, self.segmenter, self.parts, config, self.backend)
        self.depth_source = DepthSource(self.device, config.depth, config.stereo, config.filling)
        self.contribution = MapContribution(self.model, self.keyframes, config.density, self.backend)
        self.growth = MapGrowth(
            self.model, config.seeding, config.density, self.contribution, self.backend, config.seed
        )
        self.lone = LoneGaussians(self.model, self.keyframes, config.density, self.backend)
        self.rng = np.random.default_rng(config.seed)
        self.steps = 0
        self.frames_unmapped = 0  # since the map was empty
        self.memory_failures = 0
        self.scene_depth = 0.0  # metres, running median distance of what keyframes see; 0 until known
        self.train_psnr = float("nan")
        self.stamp_ns = 0
        self.version = 0
        self.clouds, self.part_clouds = ObjectClouds(), ObjectClouds()
        self.origin = np.zeros(3)  # of the map in the world of those who feed it: add it to what leaves the map
        self.names = ObjectNames(config.names)
        self.segmenter.layer.names = lambda: self.names
        self.work = WorkTimes()
        self.depth_watch = DepthParallaxWatch()
        self.work_budget = WorkBudget(config.budget, self.work, self.by_clock)
        self.side_work = SideWork(
            self.work_budget,
            config,
            self.model,
            self.keyframes,
            self.segmenter,
            self.parts,
            self.depth_source,
        )
        self.resting = False  # after a load nothing changes until something new comes in

    def count_by_clock(self) -> None:
        """Share the time by the seconds that work takes here: for a mapper at work in real time."""
        self.by_clock = self.work_budget.by_clock = True

    def add_frame(self, frame: Frame) -> FrameOutcome:
        """Take a frame in. Frames that add a view or show something new become keyframes and seed Gaussians.

        A frame that cannot be mapped is rejected by FrameError, and the map stays as it was.
        """
        frame.check()
        self.resting = False
        self.stamp_ns = frame.stamp_ns  # the clock may have gone back, or the map be of another time
        self.work_budget.note_frame()
        with self.work_budget.spend("frames", nominal.frame(frame.image[..., 0].size, len(self.model))):
            self.depth_watch.look(frame)
            outcome = self._take(frame)
        self.frames_unmapped = 0 if len(self.model) else self.frames_unmapped + 1
        return outcome

    def _take(self, frame: Frame) -> FrameOutcome:
        if frame.ignore is not None and 1.0 - frame.ignore.mean() < self.config.keyframes.min_world:
            return FrameOutcome("tracked")
        novelty = self.keyframes.novelty(frame, self.scene_depth)
        change = self.change.observe(frame, novelty, self.scene_depth)
        if novelty < self.config.keyframes.standing_still and not change.keyframe:
            return FrameOutcome("tracked")
        look = look_at(self.model, frame, self.config.keyframes, self.backend)
        median_depth = self._median_depth(frame, look)
        seen_before = self.keyframes.novelty(frame, median_depth) < 1.0
        explained = look.unexplained < self.config.keyframes.min_unexplained and not change.keyframe
        if seen_before and explained:
            return FrameOutcome("tracked")
        evicted_id = self._evict()
        keyframe = self.keyframes.add(frame, median_depth, self.steps)
        self._note_background(keyframe)
        self._seed(keyframe, look.unexplained, change.new)
        if frame.masks is not None:
            self.add_masks(keyframe.id, frame.masks)
        return FrameOutcome("keyframe", keyframe_id=keyframe.id, evicted_id=evicted_id)

    def add_masks(self, keyframe_id: int, masks: np.ndarray) -> bool:
        """Masks of a keyframe, at any later time; False where the keyframe has left.

        [H, W] int32, 0 = no mask; or [2, H, W], a coarse and a fine level: objects, and parts of them.
        """
        keyframe = self.keyframes.keyframes.get(keyframe_id)
        if keyframe is None:
            return False
        levels = masks[None] if masks.ndim == 2 else masks
        if levels.shape[1:] != keyframe.image.shape[:2] or len(levels) not in (1, 2):
            raise FrameError(
                "masks_mismatch", f"masks are {masks.shape}, keyframe {keyframe.name} is {keyframe.image.shape[:2]}"
            )
        self.segmenter.add_masks(keyframe, levels[0])
        if len(levels) == 2:
            self.parts.add_masks(keyframe, levels[1])
        keyframe.masks = storable(masks)
        self.resting = False
        return True

    def ignore_pixels(self, keyframe_id: int, mask: np.ndarray, replace: bool = False) -> bool:
        """Ignore pixels of a keyframe from now on, [H, W] bool, beside those that are already, or (`replace`) in their
        place; False where the keyframe has left.

        They are no part of the world, or no longer true: nothing is trained on, seeded, matched, voted on or shown of
        them. What the keyframe's masks said is said anew without them. Gaussians that stand there stay, but for what
        other keyframes do to them. FrameError where the mask is not one of the keyframe's image.
        """
        keyframe = self.keyframes.keyframes.get(keyframe_id)
        if keyframe is None:
            return False
        if keyframe.ignore_pixels(mask, replace):
            self.segmenter.renew_masks(keyframe)
            self.parts.renew_masks(keyframe)
            self.resting = False
        return True

    def step(self) -> StepReport | None:
        """One training step; None while there is nothing to train on, and after a load until something new comes in:
        what is known of a place does not change while nobody looks.
        """
        if self.resting or len(self.keyframes) == 0 or len(self.model) == 0:
            return None
        training, density = self.config.training, self.config.density
        keyframe = self.keyframes.sample(self.rng, training.newest_share, training.newest_count)
        if keyframe is None:
            return None
        scale, factor = step_scale(keyframe, training), rate_factor(keyframe, training, self.steps)
        with self.work_budget.spend("train", nominal.step(keyframe, scale, len(self.model))):
            report = self.trainer.step(keyframe, scale, self.scene_depth, factor)
        self.steps += 1
        self._note_psnr(report)
        with self.work_budget.spend("other", 0.0):
            if self.steps % density.prune_every == 0:
                prune(self.model, density, self.steps, self.scene_depth)
            if keyframe.steps == self.config.seeding.refine_after and len(self.model) < density.max_gaussians:
                first_uid = self.model.next_uid
                self.growth.refine(keyframe, self.steps)
                self.change.seeded(keyframe, first_uid)
            if density.lone_every and self.steps % density.lone_every == 0:
                self._fade_lone()
        with self.work_budget.spend("train", 0.0):
            self.segmenter.learn(self.steps)
        while kind := self.work_budget.next(self.side_work.due(self.steps)):
            self._work_on(kind)
        if self.change.silence.to_renew:
            with self.work.spend("objects"):
                self.change.silence.step()
        return report

    def _fade_lone(self) -> None:
        lone = self.lone.look()
        if lone is not None:
            self.growth.fade(lone)

    def work_beside(self) -> bool:
        """One piece of what is due beside training, whatever its share: for time that training does not want. False
        where nothing is.
        """
        due = [] if self.resting or len(self.model) == 0 else self.side_work.due(self.steps)
        if due:
            self._work_on(due[0])
        return bool(due)

    def _work_on(self, kind: str) -> None:
        self.side_work.do(kind, self.steps, self.scene_depth, self._match_stereo)

    def faults(self) -> dict[str, str]:
        """What keeps the map from being what it should be: name (cgc_ros/ros/faults.py) and what happened."""
        found = {}
        if self.frames_unmapped >= UNMAPPED_FRAMES:
            found["no_parallax"] = (
                f"no map yet after {self.frames_unmapped} frames: they have no depth, and none shows enough motion "
                "against the others"
            )
        elif self.depth_source.is_guessed:
            found["depth_guessed"] = f"the map began with a guess, all of a view {self.scene_depth:.2g} away"
        if contradiction := self.depth_watch.contradiction():
            found["depth_scale"] = contradiction
        registries = {"objects": self.segmenter.layer.registry, "parts": self.parts.layer.registry}
        shortages = [text for what, registry in registries.items() if (text := registry.shortage(what))]
        return found | ({"object_ids_low": ", ".join(shortages)} if shortages else {})

    def snapshot(self) -> MapSnapshot:
        """An immutable copy of the map as it is now."""
        with self.work_budget.spend("snapshot", nominal.snapshot(len(self.model))):
            return self._snapshot()

    def _snapshot(self) -> MapSnapshot:
        self.version += 1
        model = self.model.frozen()
        return MapSnapshot(
            self.version,
            self.stamp_ns,
            model,
            self.segmenter.object_ids(),
            self.segmenter.layer.state.records,
            self.names.resolved(),
            np.asarray(self.config.up, dtype=np.float64),
            self.scene_depth,
            self.backend,
            self.parts.part_ids(),
            self.parts.layer.state.records,
            ExposureTrack.of(self.keyframes),
            self.config.snapshot,
            self.clouds,
            self.part_clouds,
            self.change.history(),
        )

    def relieve_memory(self) -> str:
        """Make the work smaller after memory ran out: fewer Gaussians, then the CPU; says what was done."""
        self.memory_failures += 1
        cap = max(MIN_CAP, int(MEMORY_RELIEF * len(self.model)))
        rows = torch.arange(len(self.model), device=self.model.device)
        remove_rows(self.model, least_contributing(self.contribution.measure(), rows, max(0, len(rows) - cap)))
        self.config = replace(self.config, density=replace(self.config.density, max_gaussians=cap))
        self.growth.density = self.config.density
        self.trainer.resident.clear()  # what is trained on next is copied again
        done = f"out of memory: the map was cut to {len(self.model)} Gaussians (max_gaussians={cap})"
        if self.device.type == "cuda":
            if self.memory_failures > MAX_MEMORY_FAILURES:
                self.to(torch.device("cpu"), "cpu")
                done += "; it happened again, so mapping goes on on the CPU"
            torch.cuda.empty_cache()
        return done

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device, with the rendering backend that runs there."""
        self.device, self.backend = device, backend
        self.model.to(device)
        for component in self._on_device():
            component.to(device, backend)

    def _on_device(self) -> list[OnDevice]:
        """What holds tensors beside the model, or renders."""
        return [
            self.trainer,
            self.segmenter,
            self.parts,
            self.change,
            self.depth_source,
            self.contribution,
            self.growth,
            self.lone,
        ]

    def save(self, path: str | Path) -> None:
        """Write the map to a file, whole or not at all; raises MapFileError.

        Objects are saved as of their last update, a moment ago: a node that is told to end has 5 s.
        """
        components = (self.model, self.keyframes, self.depth_source, self.segmenter, self.parts, self.change)
        own = {
            "recipe": self.config.recipe,
            "steps": self.steps,
            "scene_depth": self.scene_depth,
            "stamp_ns": self.stamp_ns,
            "up": list(self.config.up),
            "origin": self.origin.tolist(),
        } | self.names.to_json()
        save_map(path, [SavedState({}, own), *(component.saved() for component in components)])

    def refresh_objects(self) -> None:
        """Let every keyframe vote on the map as it is now; takes seconds. For a map that is finished."""
        self.change.silence.finish()
        self.segmenter.refresh(self.steps, self.scene_depth)
        self.parts.refresh(self.steps, self.segmenter.layer.state)

    def restore(self, path: str | Path) -> None:
        """Replace this map by a file's and be ready to go on mapping; raises MapFileError and then stays as it was."""
        loaded = copy(self)
        loaded.reset()
        load_map(path, loaded._take_state)
        vars(self).update(vars(loaded))

    def _take_state(self, state: SavedState) -> None:
        """Fill an empty mapper from a file's state."""
        self.model.restore(state)
        cap = self.config.density.max_gaussians
        if len(self.model) > cap:
            raise MapFileError(f"has {len(self.model)} Gaussians, more than max_gaussians={cap}: raise the cap")
        self.keyframes.restore(state)
        self.depth_source.restore(state, self.keyframes)
        self.segmenter.restore(state)
        self.parts.restore(state)
        self.change.restore(state)
        self.names = ObjectNames.from_json(state.info, self.config.names)
        self.steps, self.stamp_ns = int(state.info["steps"]), int(state.info["stamp_ns"])
        self.scene_depth = float(state.info["scene_depth"])
        self.origin = np.array(state.info.get("origin", (0.0, 0.0, 0.0)), dtype=np.float64).reshape(3)
        self.resting = True

    @staticmethod
    def load(path: str | Path, config: MapperConfig | None = None) -> Mapper:
        """A mapper with the map of a file."""
        mapper = Mapper(config)
        mapper.restore(path)
        return mapper

    def _median_depth(self, frame: Frame, look: Look) -> float:
        """Typical distance of what the frame sees, metres; 0 while nothing is known."""
        measured = np.zeros(0) if frame.depth is None else frame.depth
        if frame.depth is not None and frame.ignore is not None:
            measured = np.where(frame.ignore, 0.0, frame.depth)
        depth = float(np.median(measured[measured > 0])) if (measured > 0).any() else look.median_depth
        if depth > 0:
            self.scene_depth = depth if self.scene_depth == 0 else 0.9 * self.scene_depth + 0.1 * depth
        return depth or self.scene_depth

    def _seed(self, keyframe: Keyframe, unexplained: float, new: np.ndarray | None) -> None:
        """New Gaussians for what the map does not explain of a keyframe; without a depth image that has time. `new`
        [h, w] bool, small: where something stands before what is mapped.
        """
        measured = self.depth_source.measured(keyframe)
        if measured is not None:
            self._grow(measured, new)
            return
        self.depth_source.wait(keyframe, unexplained)
        if len(self.model) == 0:  # nothing can be trained on before
            self._match_stereo()

    def _match_stereo(self) -> None:
        """Seed one of the keyframes that wait for stereo: that which shows most that is not mapped."""
        config = self.config.keyframes
        self.depth_source.look_again(
            lambda keyframe: look_at(self.model, keyframe, config, self.backend).unexplained, config.min_unexplained
        )
        source = self.depth_source.match_next(self.keyframes, self.growth.rendered_depth)
        if source is not None:
            self._grow(source)

    def _grow(self, source: SeedDepth, new: np.ndarray | None = None) -> None:
        self._note_depth(source.keyframe, source.depth)
        self.growth.carve(source)
        first_uid = self.model.next_uid
        self.growth.seed(source, self.steps, new)
        self.change.seeded(source.keyframe, first_uid, new)

    def _note_psnr(self, report: StepReport) -> None:
        before = report.psnr if np.isnan(self.train_psnr) else self.train_psnr
        self.train_psnr = PSNR_MEMORY * before + (1 - PSNR_MEMORY) * report.psnr

    def _note_background(self, keyframe: Keyframe) -> None:
        """What no Gaussian shows is taken to look like the scene's mean: corners that no keyframe saw are less wrong
        than in black, and Gaussians at the border of what is mapped need not be opaque to keep black out.
        """
        counts = None if keyframe.ignore is None else (~keyframe.ignore).astype(np.uint8)
        mean = torch.tensor(cv2.mean(keyframe.image, counts)[:3], dtype=torch.float32, device=self.device) / 255
        background = self.model.background
        background += (mean - background) / min(self.keyframes.next_id, BACKGROUND_KEYFRAMES)

    def _note_depth(self, keyframe: Keyframe, depth: np.ndarray) -> None:
        valid = depth[depth > 0]
        if len(valid):
            keyframe.median_depth = float(np.median(valid))
            if self.scene_depth == 0:
                self.scene_depth = keyframe.median_depth

    def _evict(self) -> int | None:
        """Make room for one more keyframe; the id of that which left."""
        evicted = self.keyframes.evict_redundant()
        if evicted is None:
            return None
        self.segmenter.drop_keyframe(evicted.id)
        self.parts.drop_keyframe(evicted.id)
        self.depth_source.forget(evicted.id)
        return evicted.id
