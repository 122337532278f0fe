"""The incremental mapper: frames in, a trained and segmented Gaussian map out. One thread owns it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from cgc_ros.frame import Frame, FrameError
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.density import make_room, prune
from cgc_ros.mapping.depth_source import DepthSource, SeedDepth
from cgc_ros.mapping.exposure import ExposureTrack
from cgc_ros.mapping.growth import MapGrowth
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.map_file import load_mapper, save_mapper
from cgc_ros.mapping.part_segmenter import PartSegmenter
from cgc_ros.mapping.segmenter import MapSegmenter, storable
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.mapping.training import PhotometricTrainer, StepReport
from cgc_ros.rendering import Camera, Render, choose_backend, device_of, rasterize
from cgc_ros.segmentation.object_names import ObjectNames

LOOK_WIDTH = 160  # pixels: width of the quick render that tells what a new frame adds
LEAST_RATE = 0.05  # of the learning rates, however old a keyframe is: light and things change
STANDING_STILL = 0.25  # of the keyframe thresholds: nearer to a keyframe than this, a frame shows nothing new
EMPTY_ALPHA = 0.3  # opacity below which a pixel shows nothing that is mapped
MEMORY_RELIEF = 0.7  # of the Gaussians stay when memory ran out
MIN_CAP = 1000
MAX_MEMORY_FAILURES = 2  # on a GPU before mapping moves to the CPU
PSNR_MEMORY = 0.98  # of the running training PSNR
UNMAPPED_FRAMES = 8  # without any map after which something is wrong
BACKGROUND_KEYFRAMES = 50  # over which the background's colour is a running mean


@dataclass(frozen=True)
class FrameOutcome:
    kind: str  # keyframe | tracked | rejected
    reason: str = ""
    keyframe_id: int | None = None
    evicted_id: int | None = None  # keyframe that left to make room for it


class Mapper:
    """Trains a map on keyframes chosen from a stream of posed frames; see MapperConfig for every number."""

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
        self.segmenter = MapSegmenter(self.model, config.segmentation, self.backend, config.seed)
        self.parts = PartSegmenter(self.model, config.segmentation, self.backend)
        self.depth_source = DepthSource(self.device)
        self.growth = MapGrowth(self.model, config.seeding, config.density, self._render_plain, config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.steps = 0
        self.matched_step = 0  # when stereo was last tried
        self.frames_unmapped = 0  # since the map was empty
        self.memory_failures = 0
        self.scene_depth = 0.0  # metres, running median distance of what keyframes see; 0 until known
        self.train_psnr = float("nan")
        self.stamp_ns = 0
        self.version = 0
        self.names = ObjectNames()

    def add_frame(self, frame: Frame) -> FrameOutcome:
        """Take a frame in. Frames that add a view or show something new become keyframes and seed Gaussians.

        A frame that cannot be mapped is rejected by FrameError, and the map stays as it was.
        """
        frame.check()
        self.stamp_ns = max(self.stamp_ns, frame.stamp_ns)
        outcome = self._take(frame)
        self.frames_unmapped = 0 if len(self.model) else self.frames_unmapped + 1
        return outcome

    def _take(self, frame: Frame) -> FrameOutcome:
        if self.keyframes.novelty(frame, self.scene_depth) < STANDING_STILL:
            return FrameOutcome("tracked")
        look = self._look(frame)
        median_depth = self._median_depth(frame, look)
        seen_before = self.keyframes.novelty(frame, median_depth) < 1.0
        if seen_before and look.unexplained < self.config.keyframes.min_unexplained:
            return FrameOutcome("tracked")
        evicted_id = self._evict()
        keyframe = self.keyframes.add(frame, median_depth, self.steps)
        self._note_background(frame.image)
        self._seed(keyframe, look.unexplained)
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
        return True

    def step(self) -> StepReport | None:
        """One training step; None while there is nothing to train on."""
        if len(self.keyframes) == 0 or len(self.model) == 0:
            return None
        training, density = self.config.training, self.config.density
        keyframe = self.keyframes.sample(self.rng, training.newest_share, training.newest_count)
        report = self.trainer.step(keyframe, self._scale(keyframe), self.scene_depth, self._rate_factor(keyframe))
        self.steps += 1
        self.train_psnr = (
            report.psnr
            if np.isnan(self.train_psnr)
            else PSNR_MEMORY * self.train_psnr + (1 - PSNR_MEMORY) * report.psnr
        )
        if self.steps % density.prune_every == 0:
            prune(self.model, density, self.steps, self.scene_depth)
        if keyframe.steps == self.config.seeding.refine_after and len(self.model) < density.max_gaussians:
            self.growth.refine(keyframe, self.steps)
        if self.depth_source.waiting and self.steps - self.matched_step >= self.config.seeding.stereo_every:
            self._match_stereo()
        self.segmenter.step(self.keyframes, self.steps, self.scene_depth)
        self.parts.step(self.keyframes, self.steps, self.segmenter.layer.state)
        return report

    def faults(self) -> dict[str, str]:
        """What keeps the map from being what it should be: name (cgc_ros/ros/faults.py) and what happened."""
        if self.frames_unmapped >= UNMAPPED_FRAMES:
            return {
                "no_parallax": f"no map yet after {self.frames_unmapped} frames: they have no depth, and none shows "
                "enough motion against the others"
            }
        if self.depth_source.is_guessed:
            return {"depth_guessed": f"the map began with a guess, all of a view {self.scene_depth:.2g} away"}
        return {}

    def snapshot(self) -> MapSnapshot:
        """An immutable copy of the map as it is now."""
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
        )

    def relieve_memory(self) -> str:
        """Make the work smaller after memory ran out: fewer Gaussians, then the CPU; says what was done."""
        self.memory_failures += 1
        cap = max(MIN_CAP, int(MEMORY_RELIEF * len(self.model)))
        density = replace(self.config.density, max_gaussians=cap, make_room=1.0, min_age=0)
        make_room(self.model, density, self.steps, len(self.model) - cap)
        self.config = replace(self.config, density=replace(self.config.density, max_gaussians=cap))
        self.growth.density = self.config.density
        self.trainer.resident.clear()  # what is trained on next is copied again
        done = f"out of memory: the map was cut to {len(self.model)} Gaussians (max_gaussians={cap})"
        if self.device.type == "cuda":
            if self.memory_failures > MAX_MEMORY_FAILURES:
                self._move_to_cpu()
                done += "; it happened again, so mapping goes on on the CPU"
            torch.cuda.empty_cache()
        return done

    def _move_to_cpu(self) -> None:
        self.backend, self.device = "cpu", torch.device("cpu")
        self.model.to(self.device)
        self.trainer.use_backend("cpu")
        self.segmenter.backend = self.parts.backend = "cpu"
        self.segmenter.prototypes = self.segmenter.prototypes.cpu()
        self.depth_source.device = self.device

    def save(self, path: str | Path) -> None:
        """Write the map to a file, whole or not at all; raises MapFileError.

        Objects are saved as of their last update, a moment ago: a node that is told to end has 5 s.
        """
        save_mapper(self, path)

    def refresh_objects(self) -> None:
        """Let every keyframe vote on the map as it is now; takes seconds. For a map that is finished."""
        self.segmenter.refresh(self.keyframes, self.steps, self.scene_depth)
        self.parts.refresh(self.keyframes, self.steps, self.segmenter.layer.state)

    def restore(self, path: str | Path) -> None:
        """Replace this map by a file's and be ready to go on mapping; raises MapFileError and then stays as it was."""
        load_mapper(self, path)

    @staticmethod
    def load(path: str | Path, config: MapperConfig | None = None) -> Mapper:
        """A mapper with the map of a file."""
        mapper = Mapper(config)
        mapper.restore(path)
        return mapper

    def _scale(self, keyframe: Keyframe) -> float:
        """Coarse to fine: small images while a keyframe is new, then full ones in turn with small ones."""
        training = self.config.training
        fine = keyframe.steps - training.coarse_steps
        full = fine >= 0 and training.full_scale_every > 0 and fine % training.full_scale_every == 0
        return 1.0 if full else training.image_scale

    def _rate_factor(self, keyframe: Keyframe) -> float:
        """Learning rates are full for a new keyframe and fall as it ages: what is new is learnt fast, and places seen
        long ago are not shaken while the camera is elsewhere.
        """
        training = self.config.training
        age = (self.steps - keyframe.born_step) / training.settle_steps
        return max(LEAST_RATE, training.settled_rate**age)

    def _look(self, frame: Frame) -> _Look:
        """Quick small render of the map from the frame's pose."""
        if len(self.model) == 0:
            return _Look(1.0, 0.0)
        scale = LOOK_WIDTH / frame.intrinsics.width
        camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera, self.device)
        camera = camera.scaled_to(LOOK_WIDTH, max(1, round(camera.height * scale)))
        render = self._render_plain(camera)
        covered = render.alpha > EMPTY_ALPHA
        depths = render.depth[covered]
        return _Look(1.0 - float(covered.float().mean()), float(depths.median()) if len(depths) else 0.0)

    @torch.no_grad()
    def _render_plain(self, camera: Camera) -> Render:
        model = self.model
        return rasterize(
            model.means,
            model.quats,
            model.scales,
            model.opacities,
            camera,
            colors=model.sh,
            sh_degree=model.sh_degree,
            depth=True,
            background=model.background,
            backend=self.backend,
        )

    def _median_depth(self, frame: Frame, look: _Look) -> float:
        """Typical distance of what the frame sees, metres; 0 while nothing is known."""
        if frame.depth is not None and (frame.depth > 0).any():
            depth = float(np.median(frame.depth[frame.depth > 0]))
        else:
            depth = look.median_depth
        if depth > 0:
            self.scene_depth = depth if self.scene_depth == 0 else 0.9 * self.scene_depth + 0.1 * depth
        return depth or self.scene_depth

    def _seed(self, keyframe: Keyframe, unexplained: float) -> None:
        """New Gaussians for what the map does not explain of a keyframe; without a depth image that has time."""
        measured = self.depth_source.measured(keyframe)
        if measured is not None:
            self._grow(measured)
            return
        self.depth_source.wait(keyframe, unexplained)
        if len(self.model) == 0:  # nothing can be trained on before
            self._match_stereo()

    def _match_stereo(self) -> None:
        """Seed one of the keyframes that wait for stereo."""
        self.matched_step = self.steps
        source = self.depth_source.match_next(self.keyframes, self.growth.rendered_depth)
        if source is not None:
            self._grow(source)

    def _grow(self, source: SeedDepth) -> None:
        self._note_depth(source.keyframe, source.depth)
        self.growth.carve(source)
        self.growth.seed(source, self.steps)

    def _note_background(self, image: np.ndarray) -> None:
        """What no Gaussian shows is taken to look like the scene's mean: corners that no keyframe saw are less wrong
        than in black, and Gaussians at the border of what is mapped need not be opaque to keep black out.
        """
        mean = torch.tensor(cv2.mean(image)[:3], dtype=torch.float32, device=self.device) / 255
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


@dataclass(frozen=True)
class _Look:
    unexplained: float  # share of the view that the map does not cover
    median_depth: float  # metres, of what it covers; 0 where nothing is
