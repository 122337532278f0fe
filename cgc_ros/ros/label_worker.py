"""The thread that turns every newest view into a label image, from the immutable snapshot, while training goes on."""

from __future__ import annotations

import threading
import time

import numpy as np

from cgc_ros.mapping.failures import Failure
from cgc_ros.ros.roles import CurrentParameters, FailureSink, LabelRenderer, LabelSink
from cgc_ros.ros.view import LabelledView, View
from cgc_ros.worker import Worker


class LabelWorker:
    """Newest wins: a view that comes while another is being labelled replaces the one that waits.

    The parameters bound the rate (`label_rate`) and the part of the time that is spent on labels (`label_share`): where
    they are slow, mapping would starve beside a fast camera. A failure is told to `failures`, and the thread goes on.
    """

    def __init__(
        self,
        renderer: LabelRenderer,
        sink: LabelSink,
        parameters: CurrentParameters,
        failures: FailureSink,
        niceness: int = 0,
    ):
        """`niceness`: of the thread (`lower_thread_priority`)."""
        self._renderer, self._sink = renderer, sink
        self._parameters, self._failures = parameters, failures
        self._condition = threading.Condition()
        self._waiting: View | None = None
        self._in_work: View | None = None
        self._worker = Worker("labels", self._run, niceness, self._wake)
        self.newest_view: View | None = None
        self.newest: LabelledView | None = None

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the thread; False where it did not end in time."""
        return self._worker.stop(timeout)

    def on_view(self, view: View) -> None:
        """Take the newest view; never blocks."""
        self.newest_view = view
        if not self._sink.is_wanted():
            return
        with self._condition:
            self._waiting = view
            self._condition.notify()

    def current(self) -> LabelledView | None:
        """The newest view with its labels, rendered now where nobody listened to label images; None before the first
        view.
        """
        view, labelled = self.newest_view, self.newest
        if view is None or (labelled is not None and (labelled.view is view or self._sink.is_wanted())):
            return labelled
        labelled = LabelledView(view, self._renderer.labels(view))
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
                pause = last + self._period_s(cost_s) - time.monotonic()
                if pause > 0 and not stopping.is_set():
                    self._condition.wait(pause)
                    continue
                if stopping.is_set():
                    return
                view, self._waiting = self._waiting, None
            if view is None:
                continue
            self._in_work, failure = view, None
            last = time.monotonic()
            try:
                labelled = LabelledView(view, self._renderer.labels(view))
                if stopping.is_set():
                    return
                self.newest = labelled
                self._sink.publish(labelled)
            except Exception as error:  # reported by name; the next view gets its chance
                failure = Failure.of(error)
            finally:
                self._in_work, cost_s = None, time.monotonic() - last
            if failure is not None:
                self._failures.failed(failure)

    def _period_s(self, cost_s: float) -> float:
        """From the begin of one label image, which took `cost_s`, to that of the next."""
        parameters = self._parameters.current
        shortest_s = 1.0 / parameters.label_rate if parameters.label_rate > 0 else 0.0
        return max(shortest_s, cost_s / parameters.label_share)
