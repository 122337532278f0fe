"""A mapper at work: the threads that feed it, train it and publish its snapshots."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch

from cgc_ros.frame import Frame, FrameError
from cgc_ros.mapping.mapper import Mapper
from cgc_ros.mapping.snapshot import MapSnapshot

Result = TypeVar("Result")
log = logging.getLogger(__name__)

RATE_WINDOW = 100  # steps over which steps per second are measured
MASK_QUEUE = 8  # keyframes that may wait for their masks
IDLE_WAIT = 0.05  # seconds
FAULT_LIFETIME = 5.0  # seconds for which a fault stays active after it last happened
LASTING_FAULTS = {"mask_source_failed", "mask_source_hung"}  # active until the source works again
FAILURE_PAUSE = 0.2  # seconds of rest after a step that failed
RELIEF_PAUSE = 2.0  # seconds between two cuts of the map that readers of snapshots ask for
MASK_PATIENCE = 5.0  # times as long as its slowest image of late, and at least
MIN_MASK_PATIENCE = 1.5  # seconds: a mask source that takes longer counts as hung


class MaskSource(Protocol):
    """What the session needs of a mask source (cgc_ros.masks has them)."""

    name: str

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class SessionStatus:
    """Counters since the start or the last reset."""

    state: str  # waiting | mapping | paused | stopped
    frames_received: int
    frames_used: int  # reached the mapper and were tracked or became keyframes
    dropped: dict[str, int]  # by reason
    keyframes: int
    gaussians: int
    objects: int
    steps: int
    steps_per_second: float
    train_psnr: float  # dB, running mean; NaN before the first step
    backend: str
    mask_source: str
    faults: dict[str, str] = field(default_factory=dict)  # active faults: name -> what happened and what to do


class MappingSession:
    """Owns the worker threads of one mapper. Public methods may be called from any thread and never wait for
    training.
    """

    def __init__(
        self,
        mapper: Mapper,
        mask_source: MaskSource | None = None,
        *,
        queue_size: int = 30,
        snapshot_period: float = 0.5,
        max_steps_per_second: float = 0.0,
        mask_timeout: float = 20.0,
        mask_queue_size: int = MASK_QUEUE,
    ):
        """`queue_size` frames may wait, a few seconds of a camera; `mask_source` None: masks come with the frames.
        `snapshot_period` in seconds; a `max_steps_per_second` of 0 is no limit. `mask_timeout`: seconds on one image
        after which a mask source counts as hung; sooner where its earlier images went faster.
        """
        self.mapper, self.mask_source = mapper, mask_source
        self.mask_timeout = mask_timeout
        self._mask_started: float | None = None
        self._mask_times: deque[float] = deque(maxlen=10)
        self._last_relief = -RELIEF_PAUSE
        self.snapshot_period, self.max_steps_per_second = snapshot_period, max_steps_per_second
        self.snapshot: MapSnapshot | None = None
        self._frames: deque[Frame] = deque()
        self._queue_size, self._mask_queue_size = queue_size, mask_queue_size
        self._calls: queue.SimpleQueue[tuple[Callable[[Mapper], object], Future]] = queue.SimpleQueue()
        self._mask_jobs: deque[tuple[int, np.ndarray, np.ndarray | None]] = deque()
        self._new_masks: queue.SimpleQueue[tuple[int, np.ndarray]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the queues' bounds, the counters and the faults
        self._wake, self._mask_wake = threading.Event(), threading.Event()
        self._stopping, self._paused = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._clear_counters()
        self._last_snapshot = 0.0

    def _clear_counters(self) -> None:
        self._received = self._used = 0
        self._dropped: Counter[str] = Counter()
        self._faults: dict[str, tuple[str, float]] = {}  # name -> message and when it last happened
        self._step_times: deque[float] = deque(maxlen=RATE_WINDOW)

    def start(self) -> None:
        """Start the threads; a stopped session may be started again."""
        self._stopping.clear()
        self._threads = [threading.Thread(target=self._work, name="mapper", daemon=True)]
        if self.mask_source is not None:
            self._threads.append(threading.Thread(target=self._make_masks, name="masks", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the threads; the mapper and the last snapshot stay."""
        self._stopping.set()
        self._wake.set()
        self._mask_wake.set()
        for thread in self._threads:
            thread.join(timeout)
        self._threads = []

    def submit(self, frame: Frame) -> None:
        """Hand a frame over. The queue is bounded: the oldest waiting frame gives way and is counted as
        `queue_full`.
        """
        with self._lock:
            self._received += 1
            if self._paused.is_set():
                self._dropped["paused"] += 1
                return
            if len(self._frames) >= self._queue_size:
                self._frames.popleft()
                self._dropped["queue_full"] += 1
            self._frames.append(frame)
        self._wake.set()

    @property
    def waiting_frames(self) -> int:
        """Frames submitted and not yet taken by the mapper."""
        return len(self._frames)

    def pause(self, paused: bool = True) -> None:
        """While paused, nothing is mapped or trained; frames are counted as dropped, snapshots stay readable."""
        if paused:
            self._paused.set()
        else:
            self._paused.clear()
        self._wake.set()

    def call(self, function: Callable[[Mapper], Result], timeout: float = 30.0) -> Result:
        """Run `function(mapper)` between two training steps, publish the map as it leaves it, and return its result.

        Raises TimeoutError after `timeout` seconds (the call may still run), and whatever `function` raises.
        """
        if not any(thread.is_alive() for thread in self._threads):
            result = function(self.mapper)
            self._publish()
            return result
        future: Future = Future()
        self._calls.put((function, future))
        self._wake.set()
        return future.result(timeout)

    def reset(self, timeout: float = 30.0) -> None:
        """Empty the map and the counters."""

        def forget(mapper: Mapper) -> None:
            mapper.reset()
            with self._lock:
                self._frames.clear()
                self._mask_jobs.clear()
                self._clear_counters()

        self.call(forget, timeout)

    def relieve_memory(self) -> None:
        """Somebody who reads the map ran out of memory: make it smaller soon, at most every 2 s. Never waits."""
        if time.monotonic() - self._last_relief >= RELIEF_PAUSE:
            self._last_relief = time.monotonic()
            self._calls.put((lambda mapper: self._fault("out_of_memory", mapper.relieve_memory()), Future()))
            self._wake.set()

    def status(self) -> SessionStatus:
        self._watch_masks()
        mapper, times = self.mapper, list(self._step_times)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
        if times and time.monotonic() - times[-1] > 2.0:
            rate = 0.0
        with self._lock:
            return SessionStatus(
                state=self._state(),
                frames_received=self._received,
                frames_used=self._used,
                dropped=dict(self._dropped),
                keyframes=len(mapper.keyframes),
                gaussians=len(mapper.model),
                objects=len(mapper.segmenter.layer.state.records),
                steps=mapper.steps,
                steps_per_second=rate,
                train_psnr=mapper.train_psnr,
                backend=mapper.backend,
                mask_source="given" if self.mask_source is None else self.mask_source.name,
                faults=self._active_faults(),
            )

    def _watch_masks(self) -> None:
        """Name a mask source that does not come back."""
        started, limit = self._mask_started, self.mask_timeout
        if self._mask_times:
            limit = min(limit, max(MIN_MASK_PATIENCE, MASK_PATIENCE * max(self._mask_times)))
        if started is not None and time.monotonic() - started > limit:
            message = f"{self.mask_source.name} has worked on one image for {time.monotonic() - started:.0f} s"
            self._fault("mask_source_hung", f"{message}; mapping goes on without new masks")
        else:
            self._clear_fault("mask_source_hung")

    def _state(self) -> str:
        if self._stopping.is_set() or not self._threads:
            return "stopped"
        if self._paused.is_set():
            return "paused"
        return "mapping" if len(self.mapper.keyframes) else "waiting"

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # a snapshot that found no memory, say: the thread outlives whatever it meets
                self._survive(error)
                time.sleep(FAILURE_PAUSE)
        self._publish()
        self._run_calls()

    def _turn(self) -> None:
        self._run_calls()
        worked = False
        if not self._paused.is_set():
            worked = self._take_frame()
            self._take_masks()
            if self.waiting_frames <= self._queue_size // 2:  # a frame lost is worse than a step postponed
                worked = self._train() or worked
        if worked and time.monotonic() - self._last_snapshot >= self.snapshot_period:
            self._publish()
        if not worked:
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()

    def _run_calls(self) -> None:
        while not self._calls.empty():
            function, future = self._calls.get()
            try:
                result = function(self.mapper)
                self._publish()
                future.set_result(result)
            except Exception as error:  # handed to the caller, whoever that is
                future.set_exception(error)

    def _take_frame(self) -> bool:
        with self._lock:
            frame = self._frames.popleft() if self._frames else None
        if frame is None:
            return False
        try:
            outcome = self.mapper.add_frame(frame)
        except FrameError as error:
            with self._lock:
                self._dropped[error.reason] += 1
            self._fault(error.reason, str(error))
            return True
        except Exception as error:  # whatever it is, the map and the frames to come must not be lost
            with self._lock:
                self._dropped["mapping_failed"] += 1
            self._survive(error)
            return True
        with self._lock:
            self._used += 1
        if outcome.kind == "keyframe" and self.mask_source is not None and frame.masks is None:
            self._request_masks(outcome.keyframe_id, frame)
        return True

    def _request_masks(self, keyframe_id: int, frame: Frame) -> None:
        with self._lock:
            if len(self._mask_jobs) >= self._mask_queue_size:
                self._mask_jobs.popleft()
                self._dropped["masks_late"] += 1
            self._mask_jobs.append((keyframe_id, frame.image, frame.depth))
        self._mask_wake.set()

    def _make_masks(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                job = self._mask_jobs.popleft() if self._mask_jobs else None
            if job is None:
                self._mask_wake.wait(IDLE_WAIT)
                self._mask_wake.clear()
                continue
            keyframe_id, image, depth = job
            self._mask_started = time.monotonic()
            try:
                masks = self.mask_source.segment(image, depth=depth)
                self._mask_times.append(time.monotonic() - self._mask_started)
                self._new_masks.put((keyframe_id, masks))
                self._clear_fault("mask_source_failed")
            except Exception as error:  # models of others raise anything; mapping goes on without this keyframe's masks
                log.exception("mask source %s failed on keyframe %d", self.mask_source.name, keyframe_id)
                with self._lock:
                    self._dropped["masks_failed"] += 1
                self._fault(
                    "mask_source_failed", f"{self.mask_source.name}: {error}; mapping goes on without its masks"
                )
            self._mask_started = None

    def _take_masks(self) -> None:
        while not self._new_masks.empty():
            keyframe_id, masks = self._new_masks.get()
            try:
                self.mapper.add_masks(keyframe_id, masks)
            except Exception as error:  # sources of others return anything: another size, no integers, nothing
                log.exception("masks of %s for keyframe %d cannot be used", self.mask_source.name, keyframe_id)
                with self._lock:
                    self._dropped["masks_failed"] += 1
                self._fault(
                    "mask_source_failed", f"{self.mask_source.name}: {error}; mapping goes on without its masks"
                )

    def _train(self) -> bool:
        times = self._step_times
        if self.max_steps_per_second > 0 and times and time.monotonic() - times[-1] < 1 / self.max_steps_per_second:
            return False
        try:
            if self.mapper.step() is None:
                return False
        except Exception as error:  # as above
            self._survive(error)
            time.sleep(FAILURE_PAUSE)
            return True
        times.append(time.monotonic())
        return True

    def _survive(self, error: Exception) -> None:
        """Name an unexpected error; where memory ran out, make the work smaller."""
        if is_out_of_memory(error):
            try:
                self._fault("out_of_memory", self.mapper.relieve_memory())
                return
            except Exception as failure:  # so little is left that cutting the map fails, too
                error = failure
        log.error("mapping failed", exc_info=error)
        self._fault("mapping_failed", f"{type(error).__name__}: {error}; mapping goes on with the next frame")

    def _publish(self) -> None:
        self._last_snapshot = time.monotonic()
        self.snapshot = self.mapper.snapshot()

    def _active_faults(self) -> dict[str, str]:
        """Faults that last, and those that happened a moment ago; the lock is held."""
        recent = time.monotonic() - FAULT_LIFETIME
        return {name: text for name, (text, at) in self._faults.items() if at > recent or name in LASTING_FAULTS}

    def _fault(self, name: str, message: str) -> None:
        with self._lock:
            self._faults[name] = (message, time.monotonic())

    def _clear_fault(self, name: str) -> None:
        with self._lock:
            self._faults.pop(name, None)


def is_out_of_memory(error: Exception) -> bool:
    """Of the GPU or of the machine, whichever way torch says it."""
    # On the CPU torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
