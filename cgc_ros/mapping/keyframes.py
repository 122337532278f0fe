"""Keyframes: which frames are kept, which leave, and which one is trained on next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch

from cgc_ros.frame import Frame, Intrinsics, check_ignore, check_rigid
from cgc_ros.gaussians.storage import MapFileError, SavedState
from cgc_ros.ignored_pixels import continued, touched_resized
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.corrections import KeyframeCorrections
from cgc_ros.rendering import Camera

JPEG_QUALITY = 95  # of images in a map file
MASK_ARRAYS = ("masks", "part_masks")  # of objects, and of their parts where there are such


class TrainingImages(NamedTuple):
    """A keyframe at a training size."""

    color: np.ndarray  # [h, w, 3] uint8
    depth: np.ndarray | None  # [h, w] float16 metres, 0 = invalid
    mask: np.ndarray | None  # [h, w] bool, pixels that count; None: all


@dataclass(frozen=True)
class _ScaledImages:
    """A keyframe's images at a training size, and what they were made of."""

    source: tuple[np.ndarray | None, ...]
    size: tuple[int, int]
    images: TrainingImages


@dataclass
class Keyframe:
    """A frame held for replay. Images stay 8 bit and depth half precision: a keyframe of 640x480 takes 1.9 MB, with
    its half-sized copy for training, and 0.4 MB more where pixels of it are ignored.

    Arrays are replaced whole and never written to: what is made of them holds them, and is told by their identity
    from what takes their place.
    """

    id: int
    stamp_ns: int
    name: str
    intrinsics: Intrinsics
    world_from_camera: np.ndarray  # [4, 4] as given
    image: np.ndarray  # [H, W, 3] uint8 RGB
    depth: np.ndarray | None  # [H, W] float16, metres, 0 = invalid
    median_depth: float  # metres
    corrections: KeyframeCorrections
    masks: np.ndarray | None = None  # [H, W] int32, 0 = no mask; or [2, H, W]: of objects, and of their parts
    depth_trust: float = 1.0  # weight of `depth` in training: less for stereo than for a depth camera
    ready: bool = True  # to be trained on; not while it waits for stereo
    born_step: int = 0  # of the mapper, when it joined
    steps: int = 0  # training steps spent on it
    loss: float = float("nan")  # running mean of its photometric loss
    ignore: np.ndarray | None = None  # [H, W] bool, pixels that are no part of the world, or no longer true
    world_share: float = 1.0  # of the pixels, those that are not ignored
    _scaled: _ScaledImages | None = field(default=None, repr=False)

    def camera(self, scale: float, device: torch.device) -> Camera:
        """Its camera at `scale` of its size, at the given pose."""
        camera = Camera.from_intrinsics(self.intrinsics, self.world_from_camera, device)
        if scale == 1.0:
            return camera
        return camera.scaled_to(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))

    @property
    def has_depth_camera(self) -> bool:
        """Whether its depth is a depth camera's, rather than stereo's or none."""
        return self.depth is not None and self.depth_trust == 1.0

    @property
    def arrays(self) -> tuple[np.ndarray | None, ...]:
        """What its images for training are made of."""
        return self.image, self.depth, self.ignore

    def ignore_pixels(self, mask: np.ndarray, replace: bool = False) -> bool:
        """Ignore pixels, [H, W] bool, beside those that are already, or (`replace`) in their place; whether anything
        changed. Raises FrameError.
        """
        check_ignore(mask, *self.image.shape[:2])
        ignore = mask if replace or self.ignore is None else mask | self.ignore
        ignore = ignore.copy() if ignore.any() else None
        if ignore is None or self.ignore is None:
            changed = ignore is not self.ignore
        else:
            changed = not np.array_equal(ignore, self.ignore)
        if not changed:
            return False
        self.ignore = ignore
        self.world_share = 1.0 if ignore is None else 1.0 - float(ignore.mean())
        return True

    def world_image(self) -> np.ndarray:
        """The image [H, W, 3] uint8 without what is ignored (`continued`)."""
        return continued(self.image, self.ignore)

    def world_depth(self) -> np.ndarray | None:
        """Depth [H, W] float32, metres, 0 where it is invalid or ignored; None where there is none at all."""
        if self.depth is None:
            return None
        depth = self.depth.astype(np.float32)
        if self.ignore is not None:
            depth[self.ignore] = 0.0
        return depth if depth.any() else None

    def scaled_images(self, width: int, height: int) -> TrainingImages:
        """Images at a size; the last are kept."""
        if (self.image.shape[1], self.image.shape[0]) == (width, height):
            mask = None if self.ignore is None else ~self.ignore
            return TrainingImages(np.ascontiguousarray(self.image), self.depth, mask)
        size, kept = (width, height), self._scaled
        if kept is None or kept.size != size or not are_same(kept.source, self.arrays):
            color, depth = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA), None
            if self.depth is not None:
                halves = self.depth.view(np.uint16)  # OpenCV knows no half precision, and nearest needs none
                depth = cv2.resize(halves, size, interpolation=cv2.INTER_NEAREST).view(np.float16)
            mask = None if self.ignore is None else ~touched_resized(self.ignore, *size)
            kept = self._scaled = _ScaledImages(self.arrays, size, TrainingImages(color, depth, mask))
        return kept.images

    def saved(self) -> SavedState:
        """For a map file: the image as JPEG, masks as PNG, what is ignored as PNG of one bit, depth as it is."""
        ok, jpeg = cv2.imencode(".jpg", self.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise MapFileError(f"keyframe {self.name} could not be encoded")
        arrays = {"image": jpeg.ravel(), "pose": self.world_from_camera, "corrections": self.corrections.values()}
        if self.depth is not None:
            arrays["depth"] = self.depth
        if self.ignore is not None:
            one_bit = [cv2.IMWRITE_PNG_BILEVEL, 1]
            arrays["ignore"] = cv2.imencode(".png", self.ignore.astype(np.uint8) * 255, one_bit)[1].ravel()
        if self.masks is not None:
            levels = self.masks[None] if self.masks.ndim == 2 else self.masks
            for name, masks in zip(MASK_ARRAYS, levels, strict=False):
                arrays[name] = cv2.imencode(".png", masks.astype(np.uint16))[1].ravel()
        info = {name: getattr(self, name) for name in ("id", "stamp_ns", "name", "median_depth", "depth_trust")}
        info |= {"intrinsics": asdict(self.intrinsics), "born_step": self.born_step, "steps": self.steps}
        return SavedState(arrays, info | {"loss": self.loss if np.isfinite(self.loss) else None})

    @staticmethod
    def restored(state: SavedState, training: TrainingConfig, born_step: int) -> Keyframe:
        """What `saved` gave; `born_step` stands in where the file is older than that number.

        KeyError, TypeError, ValueError or FrameError where it lacks or garbles something.
        """
        arrays, info = state
        intrinsics = Intrinsics(**(info["intrinsics"] | {"distortion": tuple(info["intrinsics"]["distortion"])}))
        size = (intrinsics.height, intrinsics.width)
        check_rigid(arrays["pose"])
        corrections = KeyframeCorrections(training)
        corrections.set_values(arrays["corrections"])
        depth = arrays.get("depth")
        if depth is not None and depth.shape != size:
            raise ValueError(f"depth of keyframe {info['id']} is {depth.shape}, its image {size}")
        levels = [
            _decoded(arrays[name], cv2.IMREAD_UNCHANGED, size, f"{name} of keyframe {info['id']}").astype(np.int32)
            for name in MASK_ARRAYS
            if name in arrays
        ]
        ignore = None  # nothing in files of before there was such
        if "ignore" in arrays:
            what = f"what is ignored of keyframe {info['id']}"
            ignore = _decoded(arrays["ignore"], cv2.IMREAD_GRAYSCALE, size, what) > 0
        image = _decoded(arrays["image"], cv2.IMREAD_COLOR, size, f"the image of keyframe {info['id']}")
        keyframe = Keyframe(
            int(info["id"]),
            int(info["stamp_ns"]),
            str(info["name"]),
            intrinsics,
            arrays["pose"],
            np.ascontiguousarray(image[..., ::-1]),
            depth,
            float(info["median_depth"]),
            corrections,
            masks=None if not levels else levels[0] if len(levels) == 1 else np.stack(levels),
            depth_trust=float(info["depth_trust"]),
            born_step=int(info.get("born_step", born_step)),
            steps=int(info["steps"]),
            loss=float("nan") if info["loss"] is None else float(info["loss"]),
        )
        if ignore is not None:
            keyframe.ignore_pixels(ignore)
        return keyframe


def are_same(held: tuple, given: tuple) -> bool:
    """Whether these are the very same arrays, one by one."""
    return all(one is other for one, other in zip(held, given, strict=True))


def _decoded(data: np.ndarray, how: int, size: tuple[int, int], what: str) -> np.ndarray:
    try:
        image = cv2.imdecode(data, how)
    except cv2.error as error:
        raise ValueError(f"{what} is unreadable ({error})") from error
    if image is None or image.shape[:2] != size:
        raise ValueError(f"{what} is unreadable or not {size[1]}x{size[0]}")
    return image


class KeyframeStore:
    """The keyframes in memory, in order of arrival, at most `config.max_keyframes`."""

    def __init__(self, config: KeyframeConfig, training: TrainingConfig):
        self.config, self.training = config, training
        self.keyframes: dict[int, Keyframe] = {}
        self.next_id = 0

    def __len__(self) -> int:
        return len(self.keyframes)

    def __iter__(self):
        return iter(self.keyframes.values())

    def add(self, frame: Frame, median_depth: float, step: int = 0) -> Keyframe:
        """Hold `frame` from training step `step` on; the caller evicts first where the store is full."""
        depth = None if frame.depth is None else frame.depth.astype(np.float16)
        keyframe = Keyframe(
            self.next_id,
            frame.stamp_ns,
            frame.name,
            frame.intrinsics,
            frame.world_from_camera,
            frame.image,
            depth,
            median_depth,
            KeyframeCorrections(self.training),
            frame.masks,
            born_step=step,
        )
        if frame.ignore is not None:
            keyframe.ignore_pixels(frame.ignore)
        self.keyframes[keyframe.id] = keyframe
        self.next_id += 1
        return keyframe

    def saved(self) -> SavedState:
        """For a map file."""
        each = [keyframe.saved() for keyframe in self]
        arrays = [SavedState(state.arrays, {}).below(f"keyframes/{state.info['id']}/") for state in each]
        info = {"keyframes": [state.info for state in each], "next_keyframe_id": self.next_id}
        return SavedState.joined([*arrays, SavedState({}, info)])

    def restore(self, state: SavedState) -> None:
        """Hold what `saved` gave, more than `max_keyframes` where the file does.

        KeyError, TypeError, ValueError or FrameError where it lacks or garbles something.
        """
        # In files of before it was kept: rates that have fallen once.
        born_step = int(state.info["steps"]) - self.training.settle_steps
        for info in state.info["keyframes"]:
            arrays = state.within(f"keyframes/{info['id']}/").arrays
            keyframe = Keyframe.restored(SavedState(arrays, info), self.training, born_step)
            self.keyframes[keyframe.id] = keyframe
        self.next_id = int(state.info["next_keyframe_id"])
        if self.next_id <= max(self.keyframes, default=-1):
            raise ValueError(f"the next keyframe's id, {self.next_id}, is taken")

    def newest(self) -> Keyframe | None:
        """The one that came last; None where there is none."""
        return next(reversed(self.keyframes.values()), None)

    def novelty(self, frame: Frame, depth: float) -> float:
        """How far the nearest keyframe's view is, in multiples of the thresholds: from 1 on, `frame` adds parallax.

        `depth` is the typical distance of what it sees, metres; while that is unknown (0) any motion is new.
        """
        if not self.keyframes:
            return float("inf")
        translation, rotation = self._distances(frame.world_from_camera)
        reach = max(self.config.min_translation * depth, 1e-9)
        return float(np.maximum(translation / reach, rotation / np.deg2rad(self.config.min_rotation_deg)).min())

    def evict_redundant(self) -> Keyframe | None:
        """Drop the keyframe whose view the others cover best, once the store is full; the newest quarter always
        stays.
        """
        if len(self) < self.config.max_keyframes:
            return None
        keyframes = list(self.keyframes.values())
        candidates = keyframes[: max(1, len(keyframes) * 3 // 4)]
        gaps = [self._gap(keyframe) for keyframe in candidates]
        return self.keyframes.pop(candidates[int(np.argmin(gaps))].id)

    def spread(self, count: int) -> list[Keyframe]:
        """At most `count` keyframes, the newest and each time the one whose view is farthest from those chosen."""
        keyframes = list(self)
        if len(keyframes) <= count:
            return keyframes
        chosen = [len(keyframes) - 1]
        gaps = self._view_distances(keyframes[-1])
        while len(chosen) < count:
            chosen.append(int(gaps.argmax()))
            gaps = np.minimum(gaps, self._view_distances(keyframes[chosen[-1]]))
        return [keyframes[index] for index in chosen]

    def _gap(self, keyframe: Keyframe) -> float:
        """How far, in multiples of the keyframe thresholds, the two nearest other keyframes are."""
        return float(np.sort(self._view_distances(keyframe))[1:3].sum())

    def _view_distances(self, keyframe: Keyframe) -> np.ndarray:
        """How far every keyframe's view is from one's, in multiples of the keyframe thresholds, [K]."""
        translation, rotation = self._distances(keyframe.world_from_camera)
        scaled = translation / max(self.config.min_translation * keyframe.median_depth, 1e-9)
        return scaled + rotation / np.deg2rad(self.config.min_rotation_deg)

    def _distances(self, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translation (metres) and rotation (radians) from a pose to every keyframe, [K] each."""
        poses = np.stack([keyframe.world_from_camera for keyframe in self])
        translation = np.linalg.norm(poses[:, :3, 3] - world_from_camera[:3, 3], axis=1)
        trace = np.einsum("kij,ij->k", poses[:, :3, :3], world_from_camera[:3, :3])
        return translation, np.arccos(np.clip((trace - 1) / 2, -1, 1))

    def sample(self, rng: np.random.Generator, newest_share: float, newest_count: int) -> Keyframe | None:
        """The keyframe to train on: often one of the newest until they have had as many steps as most, else history,
        those trained least and worst first. None where all that is held is ignored.
        """
        shown = [keyframe for keyframe in self if keyframe.world_share > 0]
        keyframes = [keyframe for keyframe in shown if keyframe.ready] or shown
        if not keyframes:
            return None
        steps = np.array([keyframe.steps for keyframe in keyframes], dtype=np.float64)
        if rng.random() < newest_share:
            newest = keyframes[-1 - int(rng.integers(min(newest_count, len(keyframes))))]
            if newest.steps <= np.median(steps):
                return newest
        losses = np.array([keyframe.loss for keyframe in keyframes])
        losses = np.where(np.isfinite(losses), losses, np.nanmax(losses, initial=0.1))
        weight = (0.3 + losses / max(losses.mean(), 1e-9)) / (steps - steps.min() + 3.0)
        return keyframes[int(rng.choice(len(keyframes), p=weight / weight.sum()))]
