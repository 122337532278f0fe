"""The live viewer: one thread that draws what the newest snapshot holds, while somebody looks."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cgc_ros.mapping import SessionStatus
from cgc_ros.mapping.object_editing import EditOutcome, EditRequest
from cgc_ros.viewer.history import History
from cgc_ros.viewer.map_page import Page
from cgc_ros.viewer.pacing import Pace
from cgc_ros.viewer.server import close_server, open_server
from cgc_ros.viewer.views import CameraViews, MapSource, edit_in_session, session_views
from cgc_ros.worker import Worker

log = logging.getLogger(__name__)

SAMPLE_PERIOD = 2.0  # seconds between two points of the curves, which grow while nobody looks, too
TICK = 0.1  # seconds between two looks at what is due, while somebody looks


class MapViewer:
    """A web page of a map in the making, or of a saved one. Public methods may be called from any thread.

    Everything is drawn by one thread of the viewer's own, from immutable snapshots. While no page is open it only takes
    a sample of the status every two seconds. While one is open, its CPU time stays below 4% of one core (Pace), apart
    from what a click asks for.
    """

    def __init__(
        self,
        source: MapSource,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        frames: Callable[[], CameraViews] | None = None,
        edit: Callable[[EditRequest], EditOutcome] | None = None,
        history: History | None = None,
    ):
        """`source`: a MappingSession, or a SavedMap. `host` 0.0.0.0 serves the whole network, without a password.

        `port`: the next free one is taken where it is busy; 0 takes any. `frames` gives keyframes and the newest frame
        (default: the session's keyframes), `edit` edits the objects (default: in the session's mapper); both are called
        from one thread of the viewer's own, where they may wait and may raise. `history` starts the curves.
        """
        self._source, self._host, self._port = source, host, port
        self._frames = frames or functools.partial(session_views, source)
        self.edit = edit or functools.partial(edit_in_session, source)
        self.history = history or History()
        self._posted: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._worker = Worker("viewer", self._work, wake=self._wake.set)
        self._faults: Counter[str] = Counter()  # what failed in the viewer itself, by task
        self.page: Page  # made by `start`, as what it needs; used by the viewer's thread alone

    @property
    def url(self) -> str:
        """Where the page is; raises RuntimeError before `start`."""
        if not self._worker.is_started:
            raise RuntimeError("the viewer is not started: call start()")
        host = "localhost" if self._host in ("0.0.0.0", "::", "") else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.page.server.get_port()}"

    @property
    def faults(self) -> dict[str, int]:
        """How often each part of the viewer failed; the first time is logged, and the page shows those that last."""
        return dict(self._faults)

    def start(self) -> None:
        """Serve the page; raises ViewerError where the address is not to be had."""
        if self._worker.is_started:
            return
        self.page = Page(open_server(self._host, self._port), self._source, self.edit, self.post, self._ask)
        self._asker = ThreadPoolExecutor(1, "viewer-asker")
        self._tasks = [
            (Pace(1.0, 0.003), self._show_status),
            (Pace(2.0, 0.003), self._show_views),
            (Pace(1.0, 0.010), self._show_pictures),
            (Pace(2.0, 0.012), self._show_splats),
            (Pace(3.0, 0.012), self._show_objects),
        ]
        self._started, self._sample_due, self._steps = time.monotonic(), 0.0, 0
        self._views_of: tuple | None = None  # (state,) in which keyframes were asked for last
        self._views_asked = False
        self.page.server.on_client_connect(lambda _client: self.post(self._hurry))
        self._worker.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Close the page and end the threads; False where the drawing one did not end in time."""
        if not self._worker.is_started:
            return self._worker.has_ended
        has_ended = self._worker.stop(timeout)
        self._asker.shutdown(wait=False, cancel_futures=True)
        close_server(self.page.server)
        return has_ended

    def __enter__(self) -> MapViewer:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def post(self, action: Callable[[], None], part: str = "action") -> None:
        """Have `action` run in the viewer's thread, on behalf of a part of the page."""
        self._posted.put((part, action))
        self._wake.set()

    def _ask(self, question: Callable[[], object], then: Callable[[Future], None], part: str = "action") -> None:
        """Have `question` answered where waiting for the mapper holds up nobody, and `then` take the answer."""
        future = self._asker.submit(question)
        future.add_done_callback(lambda answer: self.post(functools.partial(then, answer), part))

    def _hurry(self) -> None:
        """Somebody came, or something changed that everybody should see at once."""
        for pace, _ in self._tasks:
            pace.hurry()

    def _work(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            watched = bool(self.page.server.get_clients())
            self._wake.wait(TICK if watched else SAMPLE_PERIOD)
            self._wake.clear()
            while not self._posted.empty() and not stopping.is_set():
                self._attempt(*self._posted.get())
            if time.monotonic() >= self._sample_due:
                self._sample_due = time.monotonic() + SAMPLE_PERIOD
                self._attempt("curves", self._sample)
            if self.page.server.get_clients():
                self._refresh(stopping)

    def _refresh(self, stopping: threading.Event) -> None:
        for pace, task in self._tasks:
            if pace.due and not stopping.is_set():
                with pace:
                    self._attempt(task.__name__.removeprefix("_show_"), task)

    def _attempt(self, name: str, task: Callable[[], None]) -> None:
        try:
            task()
            self.page.report(name, None)
        except Exception as error:  # one broken part of the page must stop neither the others nor mapping
            self._faults[name] += 1
            level = logging.ERROR if self._faults[name] == 1 else logging.DEBUG  # once is enough for a log
            log.log(level, "viewer: %s failed", name, exc_info=True)
            self.page.report(name, f"{type(error).__name__}: {error}")

    def _status(self) -> SessionStatus | None:
        """None for a map at rest."""
        status = getattr(self._source, "status", None)
        return None if status is None else status()

    def _sample(self) -> None:
        status = self._status()
        if status is None or status.state != "mapping":
            return
        if status.steps < self._steps:  # the map was reset or replaced
            self.history.clear()
        self._steps = status.steps
        self.history.add(time.monotonic() - self._started, status.steps_per_second, status.train_psnr)

    def _show_status(self) -> None:
        self.page.show_status(self._status(), self.history)

    def _show_views(self) -> None:
        """Ask for keyframes only where there can be new ones, and one question at a time."""
        status = self._status()
        state = None if status is None else (status.frames_used, status.keyframes)
        if self._views_asked or (self._views_of is not None and state == self._views_of[0]):
            return

        def show(answer: Future) -> None:
            self._views_asked = False
            self.page.show_views(answer.result())
            self._views_of = (state,)

        self._views_asked = True
        self._ask(self._frames, show, "keyframes")

    def _show_pictures(self) -> None:
        self.page.show_pictures()

    def _show_splats(self) -> None:
        self.page.show_splats()

    def _show_objects(self) -> None:
        self.page.show_objects()
