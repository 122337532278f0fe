"""The thread that makes masks of keyframes: on keyframes only, with the map's own depth, never in mapping's way."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from cgc_ros.frame import IGNORED, Frame
from cgc_ros.mapping.failures import Failure, FailureLog
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.masks import MaskSource
from cgc_ros.rendering import Camera
from cgc_ros.worker import Worker

log = logging.getLogger(__name__)

IDLE_WAIT = 0.05  # seconds
PATIENCE = 5.0  # times as long as its slowest image of late, and at least
MIN_PATIENCE = 1.5  # seconds: a mask source that takes longer counts as hung
HOPELESS = 3.0  # times the timeout: a source that can be abandoned then is
LOOK_SIDE = 320  # pixels: longer side of the renders that tell a source what the map knows
MAX_LOOKS = 300  # keyframes remembered for a later turn
NEVER = -1
LOOK_AGAIN = 2.0  # times the training steps at the last look, and
LOOK_AGAIN_STEPS = 100  # more: then a keyframe whose masks rest on rendered depth gets new ones
LOOK_AGAIN_REST = 3.0  # times what the last image took: pause before another look, so that training is not starved


class Reporter(Protocol):
    """Where the worker's counters and faults go."""

    def count(self, reason: str) -> None: ...
    def fault(self, name: str, message: str) -> None: ...
    def clear_fault(self, name: str) -> None: ...


@dataclass
class _Look:
    frame: Frame
    steps: int  # training steps that the map had when its masks were last made; NEVER where they have not been yet


class MaskWorker:
    """Makes masks one keyframe at a time; `finished` holds (keyframe id, its stamp in ns, masks) for the mapper's
    thread to take; where that id is of another stamp by now, the map was replaced meanwhile.

    A source that uses depth is handed the frame's own; where the frame has none, what the newest snapshot renders in
    its view, and keyframes are looked at again, at ever longer intervals, while training improves the map and nothing
    else waits. `newest` gives the newest snapshot (or None) and the training steps so far.
    """

    def __init__(
        self,
        source: MaskSource,
        newest: Callable[[], tuple[MapSnapshot | None, int]],
        reporter: Reporter,
        *,
        queue_size: int,
        timeout: float,
        niceness: int = 0,
    ):
        """`queue_size` keyframes may wait for their masks; after `timeout` seconds on one image a source counts as
        hung, sooner where its earlier images went faster. `niceness`: of the thread (`lower_thread_priority`).
        """
        self.source, self.newest, self.reporter = source, newest, reporter
        self.queue_size, self.timeout = queue_size, timeout
        self.finished: queue.SimpleQueue[tuple[int, int, np.ndarray]] = queue.SimpleQueue()
        self._waiting: deque[tuple[int, Frame]] = deque()
        self._looks: dict[int, _Look] = {}  # keyframes that came too late, or whose masks rest on rendered depth
        self._lock = threading.Lock()  # guards the two above
        self._wake = threading.Event()
        self._failures = FailureLog(log)
        self._worker = Worker("masks", self._run, niceness, self._wake.set)
        self._started: float | None = None  # of the image in work
        self._times: deque[float] = deque(maxlen=10)  # seconds that the source took of late
        self._rested = 0.0  # monotonic time from which keyframes may be looked at again

    @property
    def is_working(self) -> bool:
        """Whether the source has an image in work."""
        return self._started is not None

    def request(self, keyframe_id: int, frame: Frame) -> None:
        """Ask for a keyframe's masks.

        Where too many wait, the oldest gives way, is counted as `masks_late`, and has its turn when no other waits.
        """
        with self._lock:
            late = len(self._waiting) >= self.queue_size
            if late:
                late_id, late_frame = self._waiting.popleft()
                self._looks[late_id] = _Look(late_frame, NEVER)
                if len(self._looks) > MAX_LOOKS:
                    del self._looks[min(self._looks)]
            self._waiting.append((keyframe_id, frame))
        if late:
            self.reporter.count("masks_late")
        self._wake.set()

    def forget(self, keyframe_id: int | None = None) -> None:
        """Make no more masks of a keyframe that has left; of none, where no id is given."""
        with self._lock:
            if keyframe_id is None:
                self._waiting.clear()
                self._looks.clear()
            else:
                self._looks.pop(keyframe_id, None)
                self._waiting = deque(job for job in self._waiting if job[0] != keyframe_id)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def wanted(self) -> set[int]:
        """Ids of the keyframes that wait for masks, or for better ones."""
        with self._lock:
            return {keyframe_id for keyframe_id, _ in self._waiting} | set(self._looks)

    def stop(self, timeout: float) -> bool:
        """Have the source end what it holds, and stop the thread; False where it did not end in time."""
        self._worker.tell_to_stop()
        self.source.close()
        return self._worker.stop(timeout)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            job = self._next()
            if job is None:
                self._wake.wait(IDLE_WAIT)
                self._wake.clear()
                continue
            self._started = time.monotonic()
            try:
                self._make(*job)
                self.reporter.clear_fault("mask_source_failed")
            except Exception as error:  # models of others raise anything
                if not stopping.is_set():
                    self.refused(job[0], error)
            self._rested = time.monotonic() + LOOK_AGAIN_REST * (time.monotonic() - self._started)
            self._started = None

    def refused(self, keyframe_id: int, error: Exception) -> None:
        """The source failed on a keyframe, or made masks that cannot be used; mapping goes on without them."""
        self._failures.write(f"mask source {self.source.name} failed", Failure.of(error))
        self.reporter.count("masks_failed")
        self.reporter.fault("mask_source_failed", f"{self.source.name}: {error}; mapping goes on without its masks")

    def watch(self) -> None:
        """Name a source that does not come back."""
        started, limit = self._started, self.timeout
        if self._times:
            limit = min(limit, max(MIN_PATIENCE, PATIENCE * max(self._times)))
        if started is not None and time.monotonic() - started > limit:
            message = f"{self.source.name} has worked on one image for {time.monotonic() - started:.0f} s"
            if time.monotonic() - started > HOPELESS * self.timeout:
                self.source.abandon()
            self.reporter.fault("mask_source_hung", f"{message}; mapping goes on without new masks")
        else:
            self.reporter.clear_fault("mask_source_hung")

    def _next(self) -> tuple[int, Frame] | None:
        """A keyframe that waits for its first masks, the oldest first; else one that is worth another look."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if not self._looks:
                return None
            keyframe_id = min(self._looks, key=lambda key: self._looks[key].steps)
            look = self._looks[keyframe_id]
            if look.steps == NEVER:
                return keyframe_id, self._looks.pop(keyframe_id).frame
            if time.monotonic() < self._rested:
                return None
            due = LOOK_AGAIN * look.steps + LOOK_AGAIN_STEPS
            return (keyframe_id, look.frame) if self.newest()[1] >= due else None

    def _make(self, keyframe_id: int, frame: Frame) -> None:
        started = time.monotonic()
        depth = frame.depth
        snapshot, steps = self.newest()
        if depth is None and self.source.uses_depth:
            depth = None if snapshot is None else _rendered_depth(snapshot, frame)
            with self._lock:
                self._looks[keyframe_id] = _Look(frame, steps)
        known = _known_objects(snapshot, frame) if self.source.uses_known and snapshot is not None else None
        if known is not None:
            masks = self.source.segment_news(frame.image, known, depth=depth)
        elif depth is not None and frame.depth is None:
            masks = self.source.segment_rendered(frame.image, depth)
        else:
            masks = self.source.segment(frame.image, depth=depth)
        self._times.append(time.monotonic() - started)
        self.finished.put((keyframe_id, frame.stamp_ns, masks))


def _rendered_depth(snapshot: MapSnapshot, frame: Frame) -> np.ndarray | None:
    """The map's depth in a frame's view, [H, W] float32 metres, 0 where it does not know; None of an empty map."""
    if snapshot.num_gaussians == 0:
        return None
    return _full_size(np.nan_to_num(snapshot.render(_small_camera(frame)).depth, nan=0.0), frame)


def _known_objects(snapshot: MapSnapshot, frame: Frame) -> np.ndarray | None:
    """The map's objects in a frame's view, [H, W] int32 by ids from 1, 0 where it knows none; None where it knows none
    anywhere.
    """
    if snapshot.num_gaussians == 0 or not snapshot.records:
        return None
    labels = snapshot.segment(_small_camera(frame))
    known = np.where(labels < IGNORED, labels.astype(np.int32) + 1, 0)
    return _full_size(known, frame) if known.any() else None


def _small_camera(frame: Frame) -> Camera:
    camera = Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera)
    scale = min(1.0, LOOK_SIDE / max(camera.width, camera.height))
    return camera.scaled_to(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def _full_size(image: np.ndarray, frame: Frame) -> np.ndarray:
    return cv2.resize(image, (frame.intrinsics.width, frame.intrinsics.height), interpolation=cv2.INTER_NEAREST)
