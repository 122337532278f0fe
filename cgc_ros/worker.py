"""A thread that can be stopped and started again, of which there is never more than one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cgc_ros.thread_priority import lower_thread_priority

log = logging.getLogger(__name__)


class Worker:
    """Runs `run(stopping)` in a thread until `stopping` is set. Public methods may be called from any thread.

    Each start has a `stopping` of its own, so a run that was told to stop stays told, however late it looks. A start
    while such a run has not ended takes effect when it has: two never run at once.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[threading.Event], None],
        niceness: int = 0,
        wake: Callable[[], None] = lambda: None,
    ):
        """`name` and `niceness` (`lower_thread_priority`) are the thread's; `wake()` ends a wait of `run`, so that it
        looks at `stopping`.
        """
        self._name, self._run, self._niceness, self._wake = name, run, niceness, wake
        self._lock = threading.Lock()  # guards what follows
        self._stopping: threading.Event | None = None  # of the newest start; None: it was stopped, or has ended
        self._due: threading.Event | None = None  # of a start whose run has not begun yet
        self._thread: threading.Thread | None = None

    @property
    def is_started(self) -> bool:
        """Whether it was started and neither told to stop nor ended by itself."""
        return self._stopping is not None

    @property
    def has_ended(self) -> bool:
        """Whether nothing runs; False while a run that was told to stop has not ended."""
        return self._thread is None

    @property
    def native_id(self) -> int | None:
        """The running thread's id in the operating system; None while nothing runs."""
        thread = self._thread
        return None if thread is None else thread.native_id

    def start(self) -> None:
        """Start a run; nothing happens where one is started already."""
        with self._lock:
            if self._stopping is not None:
                return
            self._stopping = self._due = threading.Event()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def renew(self) -> None:
        """Let the run end and go on with another in a new thread, of the caller's niceness: a thread's own can only be
        raised. Nothing happens where none is started.
        """
        with self._lock:
            if self._stopping is None or self._thread is None:
                return
            self._stopping.set()
            self._stopping = self._due = threading.Event()
            self._thread = threading.Thread(target=self._take_over, args=(self._thread,), name=self._name, daemon=True)
            self._thread.start()
        self._wake()

    def tell_to_stop(self) -> None:
        """Tell the run to stop and wait for nothing."""
        with self._lock:
            if self._stopping is not None:
                self._stopping.set()
            self._stopping = self._due = None
        self._wake()

    def stop(self, timeout: float) -> bool:
        """Tell the run to stop and wait for its end, at most `timeout` seconds; False where it has not ended then."""
        self.tell_to_stop()
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _take_over(self, before: threading.Thread) -> None:
        before.join()
        self._work()

    def _work(self) -> None:
        lower_thread_priority(self._niceness)
        while True:
            with self._lock:
                if self._thread is not threading.current_thread():  # another one goes on
                    return
                stopping, self._due = self._due, None
                if stopping is None:
                    self._thread = None
                    return
            try:
                self._run(stopping)
            except Exception:  # a run sees to its own errors; what it missed must not stand in the way of a new start
                log.exception("thread %s ended", self._name)
            with self._lock:
                if self._stopping is stopping:
                    self._stopping = None
