"""What every reader of recorded frames hands out: a Sequence, loaded lazily and undistorted on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgc_ros.calibration.recalibration import Recalibration
from cgc_ros.errors import ReasonError
from cgc_ros.frame import Frame, FrameError, Intrinsics
from cgc_ros.image_size import depth_at_size, nearest_resized, same_aspect
from cgc_ros.robot import RobotError
from cgc_ros.undistortion import undistorter_for

if TYPE_CHECKING:
    from cgc_ros.robot.recorded import RecordedRobot

#: Every eighth frame is held out for evaluation where a recording does not say which.
HELD_OUT_PERIOD, HELD_OUT_REMAINDER = 8, 7
#: Metres from the origin beyond which float32, which maps and clouds are kept in, loses tenths of a millimetre.
FAR_FROM_ORIGIN = 1000.0


class SequenceError(ReasonError, ValueError):
    """A recording, or one frame of it, that cannot be read.

    Raised by `open_sequence` for the recording as a whole, and by `sequence[i]` for that frame alone: the others still
    load.
    """


@dataclass(frozen=True)
class TrueEvent:
    """Something that happened to an instance; places are world_from_object."""

    frame: int  # index of the first frame after it
    id: int  # instance
    kind: str  # appeared | removed | moved | returned
    source: np.ndarray | None  # [4, 4] where it stood before; None where it was not there
    target: np.ndarray | None  # [4, 4] where it stands since; None where it is not there


@dataclass(frozen=True)
class GroundTruth:
    """Truth for evaluation only; a mapper never sees it."""

    labels: dict[int, tuple[str, str]]  # instance id -> (name, kind), kind is "object" or "background"
    object_points: dict[int, np.ndarray] | None  # instance id -> [P, 3] float32 surface points, world frame, metres
    #: frame index -> [H, W] int32 ids that hold across frames, 0 = unlabelled
    instances: Callable[[int], np.ndarray | None]
    events: tuple[TrueEvent, ...] | None = None  # in the order of frames; None where nothing is said


@dataclass(frozen=True)
class FrameInfo:
    """One frame before its pixels are loaded."""

    name: str  # unique within the recording
    stamp_ns: int
    world_from_camera: np.ndarray  # [4, 4] float64, optical frame
    intrinsics: Intrinsics  # of the stored image, lens distortion included
    held_out: bool


class Sequence:
    """Posed frames of one recording. `sequence[i]` loads frame i from disk, undistorted; nothing else stays in memory.

    A reader derives from this class and loads raw pixels (`load_*`). Raises SequenceError.

    Poses and truth are given about `origin` ([3] float64, in the recording's world): zero, or, where the recording lies
    far from its world's origin (UTM), its first camera. Add it to what leaves the map.
    """

    def __init__(
        self,
        name: str,
        frames: list[FrameInfo],
        *,
        has_depth: bool = False,
        has_masks: bool = False,
        has_ignore: bool = False,
        has_stamps: bool = True,
        metric_scale: bool | None = None,
        warnings: tuple[str, ...] = (),
        labels: dict[int, tuple[str, str]] | None = None,
        object_points: dict[int, np.ndarray] | None = None,
        events: tuple[TrueEvent, ...] | None = None,
    ):
        if not frames:
            raise SequenceError(
                "empty", f"{name}: no frame has both an image and a pose" + "".join(f"; {text}" for text in warnings)
            )
        self.name = name
        self.frames = tuple(frames)
        self.has_depth = has_depth
        self.has_masks = has_masks
        self.has_ignore = has_ignore
        self.has_stamps = has_stamps  # False: they are made up, from the frames' order
        self.calibration = Recalibration()  # what was changed of the one given
        self.metric_scale = metric_scale  # whether lengths are metres; None where the recording does not say
        self.source = ""  # which reader opened it, and why
        #: Reads the recording's robot for a padding in metres, where it has one; raises RobotError.
        self.robot_source: Callable[[float], RecordedRobot] | None = None
        self.robot_folder: Path | None = None  # its description and joint states as files
        self.robot: RecordedRobot | None = None  # whose pixels are ignored
        self._warnings = dict.fromkeys(warnings)
        self._warned: set[str] = set()
        origin = _far_origin(self.frames)
        self.origin = np.zeros(3)
        self.truth = None
        if labels is not None:
            self.truth = GroundTruth(labels, object_points, self._instances, events)
        self.recentre(self.origin if origin is None else origin)
        if origin is not None:
            self.warn_once(
                "origin",
                f"the cameras lie {np.linalg.norm(origin):,.0f} m from the origin, where float32 has no millimetres: "
                f"mapped about the first camera, {np.round(origin, 3).tolist()}, which is added to what goes out",
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out or changed, and why, in words. Loading frames may add to it."""
        return tuple(self._warnings)

    def warn_once(self, kind: str, text: str) -> None:
        """Add a warning, the first of its kind only."""
        if kind not in self._warned:
            self._warned.add(kind)
            self._warnings[text] = None

    def read_robot(self, padding: float) -> None:
        """Ignore the pixels of the recording's robot, where it has one, from now on. `padding`: RobotMask's, metres.

        What of it cannot be masked is warned of; SequenceError where none of it can.
        """
        if self.robot_source is None:
            return
        try:
            self.robot = self.robot_source(padding)
        except RobotError as error:
            raise SequenceError(
                error.reason, f"{self.name}: {error} (without a mask of the robot: --robot off, robot=off)"
            ) from error
        for problem in (*self.robot.problems, *self.robot.gaps([info.stamp_ns for info in self.frames])):
            self.warn_once(f"robot {problem}", problem)

    def _without_robot(self, frame: Frame) -> Frame:
        if self.robot is None:
            return frame
        mask = self.robot.mask(frame, self.origin)
        return replace(frame, ignore=mask if frame.ignore is None else mask | frame.ignore)

    def recentre(self, origin: np.ndarray) -> None:
        """Give poses and truth about another origin from now on, e.g. that of a map which they are compared with."""
        shift = np.asarray(origin, dtype=np.float64) - self.origin
        self.frames = tuple(
            replace(info, world_from_camera=_shifted(info.world_from_camera, -shift)) for info in self.frames
        )
        if self.truth is not None and self.truth.object_points is not None:
            points = {
                label: (values.astype(np.float64) - shift).astype(np.float32)
                for label, values in self.truth.object_points.items()
            }
            self.truth = replace(self.truth, object_points=points)
        if self.truth is not None and self.truth.events is not None:
            events = tuple(
                replace(each, source=_shifted_place(each.source, -shift), target=_shifted_place(each.target, -shift))
                for each in self.truth.events
            )
            self.truth = replace(self.truth, events=events)
        self.origin = self.origin + shift

    def recalibrate(self, change: Recalibration) -> None:
        """Give intrinsics, poses and depth by a better calibration from now on; once."""
        stamps = np.array([info.stamp_ns for info in self.frames])
        given = np.array([info.world_from_camera for info in self.frames])
        poses = change.poses((stamps - stamps[0]) * 1e-9, given)
        self.frames = tuple(
            replace(info, world_from_camera=pose, intrinsics=change.camera(info.intrinsics))
            for info, pose in zip(self.frames, poses, strict=True)
        )
        self.calibration = change

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frame(index)

    def frame(self, index: int, *, ignore: bool = True) -> Frame:
        """Frame `index`, undistorted; `ignore`: with the pixels that the recording says are no part of the world. Those
        of its robot are ignored in any case.
        """
        frame = self.stored_frame(index)
        if not ignore:
            frame = replace(frame, ignore=None)
        try:
            return undistorter_for(frame.intrinsics).frame(self._without_robot(frame))
        except FrameError as error:
            raise SequenceError(error.reason, f"{self.name}, frame {frame.name!r}: {error}") from error

    def stored_frame(self, index: int) -> Frame:
        """Frame `index` as it was recorded, its lens distortion and its robot included; depth and masks at the image's
        size.

        Depth or masks that cannot be used cost themselves, not the frame.
        """
        info = self.frames[range(len(self.frames))[index]]  # negative indices and IndexError as lists have them
        index = index % len(self.frames)
        image = self.load_image(index)
        size = (image.shape[1], image.shape[0])
        frame = Frame(
            stamp_ns=info.stamp_ns,
            image=image,
            world_from_camera=info.world_from_camera,
            intrinsics=info.intrinsics,
            depth=self._scaled_depth(index, size) if self.has_depth else None,
            masks=self._optional("masks", self.load_masks, index, size) if self.has_masks else None,
            name=info.name,
            ignore=self._ignore(index, size) if self.has_ignore else None,
        )
        try:
            frame.check()
        except FrameError as error:
            raise SequenceError(error.reason, f"{self.name}, frame {info.name!r}: {error}") from error
        return frame

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def is_held_out(self, index: int) -> bool:
        """Whether frame `index` is kept for evaluation and never shown to the mapper."""
        return self.frames[index].held_out

    def intrinsics(self, index: int) -> Intrinsics:
        """Of the undistorted frame, without loading it."""
        try:
            return undistorter_for(self.frames[index].intrinsics).intrinsics
        except FrameError as error:
            raise SequenceError(error.reason, f"{self.name}, frame {self.frames[index].name!r}: {error}") from error

    def load_image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB as stored."""
        raise NotImplementedError

    def stored_picture(self, index: int) -> tuple[str, bytes] | None:
        """(suffix, bytes) of a JPEG or PNG file that decodes to what `load_image` gives; None where there is none."""
        return None

    def load_depth(self, index: int) -> np.ndarray | None:
        """[H, W] float32 metres along z, 0 = invalid, as stored; None where this frame has none."""
        return None

    def load_masks(self, index: int) -> np.ndarray | None:
        """[H, W] int32, 0 = no mask, as stored; None where this frame has none."""
        return None

    def load_ignore(self, index: int) -> np.ndarray | None:
        """[H, W] bool, True = not part of the world, as stored; None where this frame has none."""
        return None

    def load_instances(self, index: int) -> np.ndarray | None:
        """[H, W] int32 ground truth, 0 = unlabelled, as stored; None where this frame has none."""
        return None

    def _optional(
        self, what: str, load: Callable[[int], np.ndarray | None], index: int, size: tuple[int, int]
    ) -> np.ndarray | None:
        """Depth or masks at the image's size (width, height); None, told once, where they cannot be used."""
        try:
            values = load(index)
        except SequenceError as error:
            self.warn_once(what, f"frames play without {what} where it cannot be read: {error}")
            return None
        fitted = None if values is None else depth_at_size(values, *size)
        if values is not None and fitted is None:
            self.warn_once(f"{what}_size", self._other_aspect(what, index, values, size) + ": such frames play without")
        return fitted

    def _scaled_depth(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        depth = self._optional("depth", self.load_depth, index, size)
        factor = self.calibration.depth_factor
        return depth if depth is None or factor == 1.0 else depth * np.float32(factor)

    def _ignore(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        ignore = self.load_ignore(index)
        if ignore is None or (ignore.shape[1], ignore.shape[0]) == size:
            return ignore
        if not same_aspect((ignore.shape[1], ignore.shape[0]), size):
            raise SequenceError(
                "ignore_mismatch", self._other_aspect("ignore mask", index, ignore, size) + ": draw it again"
            )
        return nearest_resized(ignore, *size)

    def _other_aspect(self, what: str, index: int, values: np.ndarray, size: tuple[int, int]) -> str:
        return (
            f"{what} of frame {self.frames[index].name!r} is {values.shape[1]}x{values.shape[0]}, another aspect than "
            f"its image's {size[0]}x{size[1]}, so it shows another view"
        )

    def _instances(self, index: int) -> np.ndarray | None:
        labels = self.load_instances(index)
        if labels is None:
            return None
        info = self.frames[index]
        try:
            return undistorter_for(info.intrinsics).nearest(labels)
        except FrameError as error:
            raise SequenceError(error.reason, f"{self.name}, ground truth of frame {info.name!r}: {error}") from error


def hold_out_every_eighth(frames: list[FrameInfo]) -> list[FrameInfo]:
    """The default hold-out: frames 7, 15, 23, ... in order."""
    return [replace(info, held_out=index % HELD_OUT_PERIOD == HELD_OUT_REMAINDER) for index, info in enumerate(frames)]


def example_of(names: list[str]) -> str:
    """For warnings: `first`, or `first and 4 more`."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _far_origin(frames: tuple[FrameInfo, ...]) -> np.ndarray | None:
    """The first far camera's position, where most lie far from the origin (one that lies near it had no fix yet) and
    nearer to one another.
    """
    positions = np.array([info.world_from_camera[:3, 3] for info in frames])
    distances = np.linalg.norm(positions, axis=1)
    far = distances > FAR_FROM_ORIGIN
    if 2 * far.sum() <= len(far):
        return None
    first = positions[np.argmax(far)]
    return first if np.linalg.norm(positions[far] - first, axis=1).max() < 0.5 * distances.max() else None


def _shifted_place(place: np.ndarray | None, shift: np.ndarray) -> np.ndarray | None:
    return None if place is None else _shifted(place, shift)


def _shifted(pose: np.ndarray, shift: np.ndarray) -> np.ndarray:
    moved = pose.copy()
    moved[:3, 3] += shift
    return moved
