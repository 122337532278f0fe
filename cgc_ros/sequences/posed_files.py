"""Frames as a reader of image files finds them, with what is left out counted and told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import FrameInfo, SequenceError, example_of, hold_out_every_eighth
from cgc_ros.sequences.image_files import FileSequence, FrameFiles, frame_names
from cgc_ros.sequences.poses import PoseFault, check_pose, flip_advice


class PosedFiles:
    """Collects a recording's frames; `sequence()` is the result. `where`: the file or folder that holds the poses."""

    def __init__(self, where: Path | str, rate_hz: float = 5.0):
        if not rate_hz > 0:
            raise SequenceError("bad_option", f"rate_hz={rate_hz:g}: frames per second must be positive")
        self.where, self.rate_hz = where, rate_hz
        self.warnings: list[str] = []
        self._names: list[str] = []
        self._frames: list[FrameInfo] = []
        self._files: list[FrameFiles] = []
        self._seen = 0
        self._has_stamps = True
        self._without: dict[str, list[str]] = {}  # what a frame lacked -> names of those left out
        self._refused: list[tuple[str, SequenceError]] = []
        self._bad: list[tuple[str, PoseFault]] = []
        self._mirrored: list[np.ndarray] = []
        self._rescaled: list[tuple[str, float]] = []

    def add(
        self,
        name: str,
        files: FrameFiles | None,
        pose: np.ndarray | None,
        intrinsics: Callable[[], Intrinsics] | Intrinsics,
        *,
        stamp_ns: int | None = None,
        held_out: bool = False,
    ) -> None:
        """One frame: its image's name in the recording, its files, world_from_camera [4, 4] in optical axes as stored.

        None for what is missing; without a stamp, `rate_hz` makes it. A bad pose leaves the frame out, and so does a
        SequenceError of `intrinsics()`.
        """
        self._seen += 1
        if files is None:
            self._without.setdefault("image file", []).append(name)
            return
        if pose is None:
            self._without.setdefault("pose", []).append(name)
            return
        checked = check_pose(pose)
        if isinstance(checked, PoseFault):
            self._bad.append((name, checked))
            if checked.kind == "mirrored":
                self._mirrored.append(pose)
            return
        if checked.scale != 1.0:
            self._rescaled.append((name, checked.scale))
        if stamp_ns is None:
            self._has_stamps = False
            stamp_ns = round(len(self._frames) / self.rate_hz * 1e9)
        try:
            camera = intrinsics if isinstance(intrinsics, Intrinsics) else intrinsics()
        except SequenceError as error:
            self._refused.append((name, error))
            return
        self._names.append(name)
        self._frames.append(FrameInfo("", stamp_ns, checked.world_from_camera, camera, held_out))
        self._files.append(files)

    def leave_out(self, name: str, error: SequenceError) -> None:
        """Count a frame that its reader cannot use."""
        self._seen += 1
        self._refused.append((name, error))

    def sequence(
        self,
        name: str,
        *,
        hold_out: bool = True,
        sequence: Callable[..., FileSequence] = FileSequence,
        **options,
    ) -> FileSequence:
        """The recording; `hold_out`: every eighth frame. Raises SequenceError where most of its poses are mirrored."""
        if len(self._mirrored) > len(self._frames):
            raise SequenceError(
                "bad_pose",
                f"{self.where}: {len(self._mirrored)} of {self._seen} poses are mirrored, their determinant is -1: the "
                f"camera's axes are left-handed; {flip_advice(self._mirrored)}",
            )
        if self._refused and not self._frames:
            raise self._refused[0][1]
        frames = [
            replace(info, name=unique) for info, unique in zip(self._frames, frame_names(self._names), strict=True)
        ]
        return sequence(
            name,
            hold_out_every_eighth(frames) if hold_out else frames,
            self._files,
            warnings=(*self.warnings, *self._told()),
            has_stamps=self._has_stamps,
            **options,
        )

    def _told(self) -> list[str]:
        texts = [
            f"{len(names)} of {self._seen} frames have no {what} ({example_of(names)}): left out"
            for what, names in self._without.items()
        ]
        if self._refused:
            names = example_of([name for name, _ in self._refused])
            texts.append(f"{len(self._refused)} of {self._seen} frames are left out ({names}): {self._refused[0][1]}")
        lost = [name for name, fault in self._bad if fault.kind == "lost"]
        if lost:
            texts.append(f"{len(lost)} poses are not finite ({example_of(lost)}): tracking was lost there, left out")
        broken = [(name, fault.text) for name, fault in self._bad if fault.kind != "lost"]
        if broken:
            names = example_of([name for name, _ in broken])
            texts.append(
                f"{len(broken)} poses of {self.where} are no rigid transforms ({names}: {broken[0][1]}): left out, "
                "repair or remove them"
            )
        if self._rescaled:
            names = example_of([name for name, _ in self._rescaled])
            worst = max((scale for _, scale in self._rescaled), key=lambda scale: abs(scale - 1.0))
            texts.append(f"{len(self._rescaled)} rotations have a scale of up to {worst:.4g} ({names}): normalised")
        return texts
