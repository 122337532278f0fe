"""The thread that turns every newest view into a label image, from the immutable snapshot, while training goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgc_ros.ros.intake import View
from cgc_ros.worker import Worker

_LATENCIES_KEPT = 300


@dataclass(frozen=True)
class LabelledView:
    """A view and its label image [H, W] uint16, 65535 unlabelled."""

    view: View
    labels: np.ndarray


class LabelWorker:
    """Newest wins: a view that comes while another is being labelled replaces the one that waits.

    `render(view) -> labels [H, W] uint16`; `publish(LabelledView)`; `is_wanted()` tells whether anyone listens;
    `shortest_period_s()` bounds the rate (0: none), `share()` the part of the time that is spent on labels: where they
    are slow, mapping would starve beside a fast camera. `on_error(exception)` is told, and the thread goes on.
    `niceness`: of the thread (`lower_thread_priority`).
    """

    def __init__(
        self,
        render: Callable[[View], np.ndarray],
        publish: Callable[[LabelledView], None],
        is_wanted: Callable[[], bool],
        shortest_period_s: Callable[[], float],
        share: Callable[[], float],
        on_error: Callable[[Exception], None],
        niceness: int = 0,
    ):
        self._render, self._publish, self._is_wanted = render, publish, is_wanted
        self._shortest_period_s, self._share, self._on_error = shortest_period_s, share, on_error
        self._condition = threading.Condition()
        self._waiting: View | None = None
        self._in_work: View | None = None
        self._worker = Worker("labels", self._run, niceness, self._wake)
        self.newest_view: View | None = None
        self.newest: LabelledView | None = None
        self.superseded = 0  # views that a newer one replaced before their turn

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the thread; False where it did not end in time."""
        return self._worker.stop(timeout)

    def submit(self, view: View) -> None:
        """Take the newest view; never blocks."""
        self.newest_view = view
        if not self._is_wanted():
            return
        with self._condition:
            self.superseded += self._waiting is not None
            self._waiting = view
            self._condition.notify()

    def current(self) -> LabelledView | None:
        """The newest view with its labels, rendered now where nobody listened to label images; None before the first
        view.
        """
        view, labelled = self.newest_view, self.newest
        if view is None or (labelled is not None and (labelled.view is view or self._is_wanted())):
            return labelled
        labelled = LabelledView(view, self._render(view))
        self.newest = labelled
        return labelled

    def waited_s(self, now_ns: int) -> float:
        """How long the view in work, or the one that waits, has been here; 0 where there is none."""
        view = self._in_work or self._waiting
        return 0.0 if view is None else (now_ns - view.arrived_ns) * 1e-9

    def clear(self) -> None:
        """Forget the views: the node was deactivated."""
        with self._condition:
            self._waiting = self.newest_view = self.newest = None

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _run(self, stopping: threading.Event) -> None:
        last, cost_s = -np.inf, 0.0
        while True:
            with self._condition:
                while self._waiting is None and not stopping.is_set():
                    self._condition.wait()
                pause = last + max(self._shortest_period_s(), cost_s / self._share()) - time.monotonic()
                if pause > 0 and not stopping.is_set():
                    self._condition.wait(pause)
                    continue
                if stopping.is_set():
                    return
                view, self._waiting = self._waiting, None
            if view is None:
                continue
            self._in_work = view
            last = time.monotonic()
            try:
                labelled = LabelledView(view, self._render(view))
                if stopping.is_set():
                    return
                self.newest = labelled
                self._publish(labelled)
            except Exception as error:  # reported by name; the next view gets its chance
                self._on_error(error)
            finally:
                self._in_work, cost_s = None, time.monotonic() - last


class LatencyMeter:
    """Quantiles of the last 300 latencies. Thread-safe."""

    def __init__(self):
        self._seconds: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """One measurement."""
        with self._lock:
            self._seconds.append(seconds)

    def quantile_ms(self, quantile: float) -> float:
        """In milliseconds; NaN while nothing was measured."""
        with self._lock:
            return float(np.quantile(self._seconds, quantile)) * 1e3 if self._seconds else float("nan")
