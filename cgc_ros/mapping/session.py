"""A mapper at work: the threads that feed it, train it and publish its snapshots."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from cgc_ros.frame import Frame, FrameError
from cgc_ros.mapping.failures import Failure, FailureLog
from cgc_ros.mapping.mapper import Mapper
from cgc_ros.mapping.mask_worker import MaskWorker
from cgc_ros.mapping.session_record import SessionRecord, SessionStatus
from cgc_ros.mapping.snapshot import MapSnapshot
from cgc_ros.masks import MaskSource
from cgc_ros.thread_priority import MASKS_NICENESS
from cgc_ros.worker import Worker

Result = TypeVar("Result")
log = logging.getLogger(__name__)

MASK_QUEUE = 8  # keyframes that may wait for their masks
IDLE_WAIT = 0.05  # seconds
FAILURE_PAUSE = 0.2  # seconds of rest after a step that failed
RELIEF_PAUSE = 2.0  # seconds between two cuts of the map that readers of snapshots ask for


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
        self._record = SessionRecord()
        self._failures = FailureLog(log)
        self.snapshot_period, self.max_steps_per_second = snapshot_period, max_steps_per_second
        self.snapshot: MapSnapshot | None = None
        self._frames: deque[Frame] = deque()
        self._queue_size = queue_size
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the queue's bound
        self._wake = threading.Event()
        self._paused = threading.Event()
        self._worker = Worker("mapper", self._work, niceness, self._wake.set)
        self._last_snapshot = 0.0
        self.masks = None
        if mask_source is not None:
            self.masks = MaskWorker(
                mask_source,
                self._newest,
                self._record,
                queue_size=mask_queue_size,
                timeout=mask_timeout,
                niceness=niceness + MASKS_NICENESS,
            )

    @property
    def mask_timeout(self) -> float:
        """Seconds on one image after which the mask source counts as stuck; infinite without one. May be set."""
        return math.inf if self.masks is None else self.masks.timeout

    @mask_timeout.setter
    def mask_timeout(self, seconds: float) -> None:
        if self.masks is not None:
            self.masks.timeout = seconds

    def start(self) -> None:
        """Start the threads; a stopped session may be started again."""
        self.mapper.count_by_clock()
        self._worker.start()
        if self.masks is not None:
            self.masks.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop the threads; the mapper and the last snapshot stay. False where one did not end within `timeout` s."""
        self._worker.tell_to_stop()
        masks_ended = self.masks is None or self.masks.stop(timeout)
        return self._worker.stop(timeout) and masks_ended

    def submit(self, frame: Frame) -> None:
        """Hand a frame over. The queue is bounded: the oldest waiting frame gives way and is counted as
        `queue_full`.
        """
        self._record.receive()
        if self._paused.is_set():
            self._record.count("paused")
            return
        with self._lock:
            if len(self._frames) >= self._queue_size:
                self._frames.popleft()
                self._record.count("queue_full")
            self._frames.append(frame)
        self._wake.set()

    @property
    def native_thread(self) -> int | None:
        """The mapper's thread, by its id in the operating system; None while none runs."""
        return self._worker.native_id

    def renew_thread(self) -> None:
        """Go on in a new thread, of the caller's niceness, after the step in work."""
        self._worker.renew()

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
            self._record.clear()
            if self.masks is not None:
                self.masks.forget()

        self.change(forget, timeout)

    def relieve_memory(self) -> None:
        """Somebody who reads the map ran out of memory: make it smaller soon, at most every 2 s. Never waits."""
        if time.monotonic() - self._last_relief >= RELIEF_PAUSE:
            self._last_relief = time.monotonic()
            self._relief_wanted.set()
            self._wake.set()

    def status(self) -> SessionStatus:
        """What goes in, comes out and goes wrong at this moment. From any thread."""
        if self.masks is not None:
            self.masks.watch()
        mapper, counts = self.mapper, self._record.counts()
        return SessionStatus(
            state=self._state(),
            frames_received=counts.received,
            frames_used=counts.used,
            dropped=counts.dropped,
            keyframes=len(mapper.keyframes),
            gaussians=len(mapper.model),
            objects=len(mapper.segmenter.layer.state.records),
            steps=mapper.steps,
            steps_per_second=self._record.steps_per_second,
            train_psnr=mapper.train_psnr,
            backend=mapper.backend,
            mask_source="given" if self.mask_source is None else self.mask_source.name,
            faults=self._record.faults(),
        )

    def _state(self) -> str:
        if not self._worker.is_started:
            return "stopped"
        if self._paused.is_set():
            return "paused"
        return "mapping" if len(self.mapper.keyframes) else "waiting"

    def _work(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            failure = _failure_of(self.turn)  # in a snapshot, say: the thread outlives whatever it meets
            if failure is not None:
                self._survive(failure)
                stopping.wait(FAILURE_PAUSE)
        failure = _failure_of(self._publish)
        if failure is not None:
            self._survive(failure)
        self._run_calls()

    def turn(self) -> None:
        """Calls, a frame, masks, a step: what the thread does over and over, for who runs a session without it."""
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
                not self._record.is_gpu_lost and self.waiting_frames <= self._queue_size // 2
            ):  # a frame lost is worse than a step postponed
                worked = self._train() or worked
        if worked and not self._record.is_gpu_lost and time.monotonic() - self._last_snapshot >= self.snapshot_period:
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
        if self._record.is_gpu_lost:
            self._record.count("gpu_lost")
            return True
        failure = None
        try:
            outcome = self.mapper.add_frame(frame)
        except FrameError as error:
            self._record.count(error.reason)
            self._record.fault(error.reason, str(error))
            return True
        except Exception as error:  # whatever it is, the map and the frames to come must not be lost
            failure = Failure.of(error)
        if failure is not None:
            self._record.count("mapping_failed")
            self._survive(failure)
            return True
        self._record.use()
        for name, message in self.mapper.faults().items():
            self._record.fault(name, message)
        if self.masks is not None and outcome.keyframe_id is not None:
            if outcome.evicted_id is not None:
                self.masks.forget(outcome.evicted_id)
            if frame.masks is None:
                self.masks.request(outcome.keyframe_id, frame)
        return True

    def _take_masks(self) -> None:
        while self.masks is not None and not self.masks.finished.empty():
            keyframe_id, stamp_ns, masks = self.masks.finished.get()
            keyframe = self.mapper.keyframes.keyframes.get(keyframe_id)
            if keyframe is None or keyframe.stamp_ns != stamp_ns:  # it has left, or the map was reset or loaded
                self.masks.forget(keyframe_id)
                continue
            try:
                self.mapper.add_masks(keyframe_id, masks)
            except Exception as error:  # sources of others return anything: another size, no integers, nothing
                self.masks.refused(keyframe_id, error)

    def _newest(self) -> tuple[MapSnapshot | None, int]:
        return self.snapshot, self.mapper.steps

    def _train(self) -> bool:
        if self.max_steps_per_second > 0 and self._record.since_step < 1 / self.max_steps_per_second:
            return self.mapper.work_beside()
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
        self._record.step()
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
            self._record.lose_gpu(f"{failure.message.splitlines()[0]}; mapping has stopped")
            return
        self._record.fault("mapping_failed", f"{failure.message}; mapping goes on with the next frame")

    def _relieve(self) -> None:
        done: list[str] = []
        failure = _failure_of(lambda: done.append(self.mapper.relieve_memory()))
        if failure is None:
            self._record.fault("out_of_memory", done[0])
            return
        # So little is left that cutting the map fails, too.
        self._failures.write("making the map smaller failed", failure)
        self._record.fault("out_of_memory", f"making the map smaller failed, too: {failure.message}")

    def _publish(self) -> None:
        self._last_snapshot = time.monotonic()
        self.snapshot = self.mapper.snapshot()


def _failure_of(work: Callable[[], object]) -> Failure | None:
    """Do it; what is kept of its error where it failed."""
    try:
        work()
    except Exception as error:
        return Failure.of(error)
    return None
