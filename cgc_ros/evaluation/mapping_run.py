"""Stream a recording through a MappingSession, as a camera would."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np

from cgc_ros.evaluation.run_record import RunRecorder
from cgc_ros.frame import Frame
from cgc_ros.image_size import MAX_IMAGE_WIDTH, scaled_frame
from cgc_ros.mapping import MappingSession, SessionStatus
from cgc_ros.run_files import RunError
from cgc_ros.sequences import Sequence, SequenceError

DEFAULT_TAIL = 60.0  # seconds of training after the last frame, where no budget is given
TICK = 0.02  # seconds


@dataclass(frozen=True)
class StreamOptions:
    """How a recording is fed."""

    budget: float | None = None  # wall seconds from the first frame to the end; None: the stream's length and 60 s
    rate_hz: float | None = None  # frames per second in real time; None: as the mapper takes them
    feed_share: float = 0.5  # without a rate: share of the budget over which frames are spread; 0 feeds all at once
    use_depth: bool = True  # False: the recording's depth is withheld
    use_masks: bool = True  # False: the recording's masks are withheld
    use_ignore: bool = True  # False: what the recording ignores is mapped, too (its robot is another matter)
    max_image_width: int = (
        MAX_IMAGE_WIDTH  # wider images are mapped scaled; 0: never. Views are scored at their own size
    )


@dataclass(frozen=True)
class RunProgress:
    """For progress bars."""

    seconds: float  # since the first frame
    budget: float
    frames_submitted: int
    frames_total: int
    status: SessionStatus


@dataclass
class RunOutcome:
    """How a run went."""

    seconds: float = 0.0  # first frame to the end of training
    stream_seconds: float = 0.0  # first frame until the last one was taken
    interrupted: bool = False
    frames_submitted: int = 0
    unreadable: list[str] = field(default_factory=list)  # one message per frame that could not be read
    not_submitted: int = 0  # frames that the budget left no time for
    recorder: RunRecorder = field(default_factory=RunRecorder)


class Clock(Protocol):
    """What of the module `time` a run waits by."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after so many of them."""
        ...


def held_in(sequence: Sequence) -> list[int]:
    """Indices of the frames that a mapper may see."""
    return [index for index in range(len(sequence)) if not sequence.is_held_out(index)]


def stream_seconds(sequence: Sequence, rate_hz: float | None) -> float:
    """Length of the recording when played at `rate_hz`, or by its own stamps."""
    if rate_hz:
        return len(sequence) / rate_hz
    return max(0.0, (sequence.frames[-1].stamp_ns - sequence.frames[0].stamp_ns) / 1e9)


def default_budget(sequence: Sequence, rate_hz: float | None) -> float:
    """Seconds a run takes where none are given."""
    return stream_seconds(sequence, rate_hz) + DEFAULT_TAIL


def feed_times(sequence: Sequence, budget: float, options: StreamOptions) -> np.ndarray:
    """When every frame of the recording is due, seconds since the first; held-out frames keep their slots."""
    period = 1 / options.rate_hz if options.rate_hz else options.feed_share * budget / len(sequence)
    return np.arange(len(sequence)) * period


def stream(
    session: MappingSession,
    sequence: Sequence,
    options: StreamOptions,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
    clock: Clock = time,
) -> RunOutcome:
    """Feed the recording's held-in frames to a started session and let it train until the budget is spent.

    A frame that cannot be read is left out and named in the outcome; SequenceError where that is every frame. Ctrl-C
    ends the run early and is noted in the outcome. The session is left running.
    """
    feeder = _Feeder(session, sequence, options, on_progress, clock)
    try:
        feeder.feed()
        feeder.train_out()
    except KeyboardInterrupt:
        feeder.outcome.interrupted = True
    return feeder.finish()


class _Feeder:
    def __init__(self, session, sequence: Sequence, options: StreamOptions, on_progress, clock: Clock):
        self.session, self.sequence, self.options = session, sequence, options
        self.on_progress, self.clock = on_progress, clock
        self.indices = held_in(sequence)
        if not self.indices:
            raise RunError(f"{sequence.name}: every frame is held out, none is left to map: shorten heldout.txt")
        self.budget = options.budget if options.budget is not None else default_budget(sequence, options.rate_hz)
        self.due = feed_times(sequence, self.budget, options)
        self.outcome = RunOutcome()
        self.newest: Frame | None = None
        self.start: float | None = None  # clock.monotonic() of the first frame

    @property
    def seconds(self) -> float:
        return 0.0 if self.start is None else self.clock.monotonic() - self.start

    @property
    def spent(self) -> bool:
        return self.seconds >= self.budget

    def feed(self) -> None:
        for position, index in enumerate(self.indices):
            if self.spent:
                self.outcome.not_submitted = len(self.indices) - position
                break
            frame = self._read(index)
            if frame is None:
                continue
            if self.start is None:
                self.start = self.clock.monotonic() - float(self.due[index])
            self._wait_until(partial(self._has_passed, float(self.due[index])))
            if not self.options.rate_hz:
                self._wait_until(lambda: self.session.waiting_frames == 0)
            self.session.submit(frame)
            self.newest = frame
            self.outcome.frames_submitted += 1
        if self.newest is None:
            first = self.outcome.unreadable[0] if self.outcome.unreadable else "no time"
            raise SequenceError("unreadable", f"{self.sequence.name}: no frame could be read; first: {first}")
        self._wait_until(lambda: self.session.waiting_frames == 0)
        self.outcome.stream_seconds = self.seconds

    def _has_passed(self, due: float) -> bool:
        return self.seconds >= due

    def train_out(self) -> None:
        """Wait while the mapper trains: until the budget is spent, or its schedule is over."""
        self._wait_until(lambda: self.session.mapper.finished)

    def finish(self) -> RunOutcome:
        self.outcome.seconds = self.seconds
        self.outcome.stream_seconds = self.outcome.stream_seconds or self.outcome.seconds
        self._sample(force=True)
        return self.outcome

    def _read(self, index: int) -> Frame | None:
        try:
            frame = self.sequence.frame(index, ignore=self.options.use_ignore)
        except SequenceError as error:
            self.outcome.unreadable.append(str(error))
            return None
        frame = scaled_frame(frame, self.options.max_image_width)
        if not self.options.use_depth:
            frame = replace(frame, depth=None)
        if not self.options.use_masks:
            frame = replace(frame, masks=None)
        return frame

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        """Sleep, sampling and reporting on the way, until `ready()` or the budget is spent."""
        while not ready() and not self.spent:
            self.clock.sleep(TICK)
            self._sample()

    def _sample(self, force: bool = False) -> None:
        status = self.session.status()
        if status.state not in ("waiting", "mapping"):
            reasons = "; ".join(status.faults.values()) or "no reason given"
            raise RunError(f"the mapping session is {status.state} after {self.seconds:.0f} s: {reasons}")
        share = self.outcome.frames_submitted / len(self.indices)
        self.outcome.recorder.sample(self.seconds, self.session, self.newest, share, force)
        self.on_progress(
            RunProgress(self.seconds, self.budget, self.outcome.frames_submitted, len(self.indices), status)
        )
