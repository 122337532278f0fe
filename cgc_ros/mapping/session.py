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
from typing import TypeVar

from cgc_ros.frame import Frame, FrameError
from cgc_ros.mapping.failures import Failure, FailureLog
from cgc_ros.mapping.mapper import Mapper
from cgc_ros.mapping.mask_worker import MaskWorker
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.masks import MaskSource
from cgc_ros.thread_priority import MASKS_NICENESS
from cgc_ros.worker import Worker

Result = TypeVar("Result")
log = logging.getLogger(__name__)

RATE_WINDOW = 100  # steps over which steps per second are measured
MASK_QUEUE = 8  # keyframes that may wait for their masks
IDLE_WAIT = 0.05  # seconds
FAULT_LIFETIME = 5.0  # seconds for which a fault stays active after it last happened
LASTING_FAULTS = {"mask_source_failed", "mask_source_hung"}  # active until the source works again
FAILURE_PAUSE = 0.2  # seconds of rest after a step that failed
RELIEF_PAUSE = 2.0  # seconds between two cuts of the map that readers of snapshots ask for


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


@dataclass(frozen=True)
class _Call:
    """Something to do with the mapper between two training steps."""

    function: Callable[[Mapper], object]
    changes: bool  # the map, which is then published
    result: Future = field(default_factory=Future)


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
        niceness: int = 0,
    ):
        """`queue_size` frames may wait, a few seconds of a camera; `mask_source` None: masks come with the frames.
        `snapshot_period` in seconds; a `max_steps_per_second` of 0 is no limit. `mask_timeout`: seconds on one image
        after which a mask source counts as hung; sooner where its earlier images went faster. `niceness`: how far
        training steps back behind other threads (`lower_thread_priority`), masks a little further.
        """
        self.mapper, self.mask_source = mapper, mask_source
        self._last_relief = -RELIEF_PAUSE
        self._relief_wanted = threading.Event()
        self._gpu_lost = ""  # what it said when it failed for good; nothing can be trained from then on
        self._failures = FailureLog(log)
        self.snapshot_period, self.max_steps_per_second = snapshot_period, max_steps_per_second
        self.snapshot: MapSnapshot | None = None
        self._frames: deque[Frame] = deque()
        self._queue_size = queue_size
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the queue's bound, the counters and the faults
        self._wake = threading.Event()
        self._paused = threading.Event()
        self._worker = Worker("mapper", self._work, niceness, self._wake.set)
        self._clear_counters()
        self._last_snapshot = 0.0
        self._masks = None
        if mask_source is not None:
            self._masks = MaskWorker(
                mask_source,
                self._newest,
                self,
                queue_size=mask_queue_size,
                timeout=mask_timeout,
                niceness=niceness + MASKS_NICENESS,
            )

    def _clear_counters(self) -> None:
        self._received = self._used = 0
        self._dropped: Counter[str] = Counter()
        self._faults: dict[str, tuple[str, float]] = {}  # name -> message and when it last happened
        self._step_times: deque[float] = deque(maxlen=RATE_WINDOW)

    def start(self) -> None:
        """Start the threads; a stopped session may be started again."""
        self._worker.start()
        if self._masks is not None:
            self._masks.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop the threads; the mapper and the last snapshot stay. False where one did not end within `timeout` s."""
        self._worker.tell_to_stop()
        masks_ended = self._masks is None or self._masks.stop(timeout)
        return self._worker.stop(timeout) and masks_ended

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

    @property
    def masks_in_work(self) -> bool:
        """Whether the mask source has an image in work."""
        return self._masks is not None and self._masks.is_working

    def pause(self, paused: bool = True) -> None:
        """While paused, nothing is mapped or trained; frames are counted as dropped, snapshots stay readable."""
        if paused:
            self._paused.set()
        else:
            self._paused.clear()
        self._wake.set()

    def ask(self, function: Callable[[Mapper], Result], timeout: float = 30.0) -> Result:
        """Run `function(mapper)`, which leaves the map as it is, between two training steps and return its result.

        Raises TimeoutError after `timeout` seconds (it may still run), and whatever `function` raises.
        """
        return self._call(function, timeout, changes=False)

    def change(self, function: Callable[[Mapper], Result], timeout: float = 30.0) -> Result:
        """As `ask`, for a `function` that changes the map: it is published before the result is there."""
        return self._call(function, timeout, changes=True)

    def _call(self, function: Callable[[Mapper], Result], timeout: float, changes: bool) -> Result:
        call = _Call(function, changes)
        if self._worker.has_ended:
            self._run(call)
        else:
            self._calls.put(call)
            self._wake.set()
        return call.result.result(timeout)

    def reset(self, timeout: float = 30.0) -> None:
        """Empty the map and the counters."""

        def forget(mapper: Mapper) -> None:
            mapper.reset()
            with self._lock:
                self._frames.clear()
                self._clear_counters()
            if self._masks is not None:
                self._masks.forget()

        self.change(forget, timeout)

    def relieve_memory(self) -> None:
        """Somebody who reads the map ran out of memory: make it smaller soon, at most every 2 s. Never waits."""
        if time.monotonic() - self._last_relief >= RELIEF_PAUSE:
            self._last_relief = time.monotonic()
            self._relief_wanted.set()
            self._wake.set()

    def status(self) -> SessionStatus:
        if self._masks is not None:
            self._masks.watch()
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

    def _state(self) -> str:
        if not self._worker.is_started:
            return "stopped"
        if self._paused.is_set():
            return "paused"
        return "mapping" if len(self.mapper.keyframes) else "waiting"

    def _work(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            failure = _failure_of(self._turn)  # in a snapshot, say: the thread outlives whatever it meets
            if failure is not None:
                self._survive(failure)
                stopping.wait(FAILURE_PAUSE)
        failure = _failure_of(self._publish)
        if failure is not None:
            self._survive(failure)
        self._run_calls()

    def _turn(self) -> None:
        self._run_calls()
        if self._relief_wanted.is_set():
            self._relief_wanted.clear()
            self._relieve()
            self._publish()
        worked = False
        if not self._paused.is_set():
            worked = self._take_frame()
            self._take_masks()
            if (
                not self._gpu_lost and self.waiting_frames <= self._queue_size // 2
            ):  # a frame lost is worse than a step postponed
                worked = self._train() or worked
        if worked and not self._gpu_lost and time.monotonic() - self._last_snapshot >= self.snapshot_period:
            self._publish()
        if not worked:
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()

    def _run_calls(self) -> None:
        while not self._calls.empty():
            self._run(self._calls.get())

    def _run(self, call: _Call) -> None:
        try:
            result = call.function(self.mapper)
            if call.changes:
                self._publish()
            call.result.set_result(result)
        except Exception as error:  # handed to the caller, whoever that is
            call.result.set_exception(error)

    def _take_frame(self) -> bool:
        with self._lock:
            frame = self._frames.popleft() if self._frames else None
        if frame is None:
            return False
        if self._gpu_lost:
            self.count("gpu_lost")
            return True
        failure = None
        try:
            outcome = self.mapper.add_frame(frame)
        except FrameError as error:
            self.count(error.reason)
            self.fault(error.reason, str(error))
            return True
        except Exception as error:  # whatever it is, the map and the frames to come must not be lost
            failure = Failure.of(error)
        if failure is not None:
            self.count("mapping_failed")
            self._survive(failure)
            return True
        with self._lock:
            self._used += 1
        for name, message in self.mapper.faults().items():
            self.fault(name, message)
        if self._masks is not None and outcome.kind == "keyframe":
            if outcome.evicted_id is not None:
                self._masks.forget(outcome.evicted_id)
            if frame.masks is None:
                self._masks.request(outcome.keyframe_id, frame)
        return True

    def _take_masks(self) -> None:
        while self._masks is not None and not self._masks.finished.empty():
            keyframe_id, stamp_ns, masks = self._masks.finished.get()
            keyframe = self.mapper.keyframes.keyframes.get(keyframe_id)
            if keyframe is None or keyframe.stamp_ns != stamp_ns:  # it has left, or the map was reset or loaded
                self._masks.forget(keyframe_id)
                continue
            try:
                self.mapper.add_masks(keyframe_id, masks)
            except Exception as error:  # sources of others return anything: another size, no integers, nothing
                self._masks.refused(keyframe_id, error)

    def _newest(self) -> tuple[MapSnapshot | None, int]:
        return self.snapshot, self.mapper.steps

    def _train(self) -> bool:
        times = self._step_times
        if self.max_steps_per_second > 0 and times and time.monotonic() - times[-1] < 1 / self.max_steps_per_second:
            return False
        failure = None
        try:
            if self.mapper.step() is None:
                return False
        except Exception as error:  # as above
            failure = Failure.of(error)
        if failure is not None:
            self._survive(failure)
            time.sleep(FAILURE_PAUSE)
            return True
        times.append(time.monotonic())
        return True

    def _survive(self, failure: Failure) -> None:
        """Name an unexpected error; where memory ran out, make the work smaller. Outside of any `except`: its traceback
        would hold the memory.
        """
        if failure.kind == "out_of_memory":
            self._relieve()
            return
        self._failures.write("mapping failed", failure)
        if failure.kind == "gpu_lost":
            self._gpu_lost = f"{failure.message.splitlines()[0]}; mapping has stopped"
            return
        self.fault("mapping_failed", f"{failure.message}; mapping goes on with the next frame")

    def _relieve(self) -> None:
        done: list[str] = []
        failure = _failure_of(lambda: done.append(self.mapper.relieve_memory()))
        if failure is None:
            self.fault("out_of_memory", done[0])
            return
        # So little is left that cutting the map fails, too.
        self._failures.write("making the map smaller failed", failure)
        self.fault("out_of_memory", f"making the map smaller failed, too: {failure.message}")

    def _publish(self) -> None:
        self._last_snapshot = time.monotonic()
        self.snapshot = self.mapper.snapshot()

    def _active_faults(self) -> dict[str, str]:
        """Faults that last, and those that happened a moment ago; the lock is held."""
        recent = time.monotonic() - FAULT_LIFETIME
        active = {name: text for name, (text, at) in self._faults.items() if at > recent or name in LASTING_FAULTS}
        return active | ({"gpu_lost": self._gpu_lost} if self._gpu_lost else {})

    def count(self, reason: str) -> None:
        """Count one more drop."""
        with self._lock:
            self._dropped[reason] += 1

    def fault(self, name: str, message: str) -> None:
        """A fault has happened; it stays in `status` for a while."""
        with self._lock:
            self._faults[name] = (message, time.monotonic())

    def clear_fault(self, name: str) -> None:
        with self._lock:
            self._faults.pop(name, None)


def _failure_of(work: Callable[[], object]) -> Failure | None:
    """Do it; what is kept of its error where it failed."""
    try:
        work()
    except Exception as error:
        return Failure.of(error)
    return None
