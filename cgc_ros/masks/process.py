"""A mask source in a process of its own.

A process ends alone where a model crashes or hangs, and can be killed. It also leaves the interpreter's lock to the
others: making masks is mostly Python, and in a thread of the node's held it for a fifth of the time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, Pipe

import numpy as np

from cgc_ros.masks import MaskError, MaskSource, create_mask_source
from cgc_ros.thread_priority import MASKS_NICENESS

_END_WAIT_S = 1.0  # for a process that was told to end
_PARENT_CHECK_S = 1.0


class MaskProcess(MaskSource):
    """The source `kind` with its options, in another process.

    The process starts at once, and anew with the next image where it has ended. `close` and `abandon` may be called
    from any thread, `segment` from one at a time.
    """

    def __init__(self, kind: str, niceness: int = MASKS_NICENESS, **options):
        """`niceness` is the process's. Waits for nothing: see `wait_until_ready`."""
        self._kind, self._options, self._niceness = kind, options, niceness
        self._lock = threading.Lock()  # guards the child
        self._child: _Child | None = _start(kind, options, niceness)
        self._is_ready = False
        self.name, self.uses_depth, self.uses_known = kind, False, False

    def wait_until_ready(self) -> MaskProcess:
        """Itself, once the source is made. Raises MaskError as `create_mask_source` does."""
        self._running()
        return self

    @property
    def pid(self) -> int | None:
        """Of the process; None where there is none now."""
        child = self._child
        return None if child is None else child.process.pid

    def segment(self, image: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """As the source's own; MaskError also where its process ends meanwhile."""
        return self._ask(image, depth, None)

    def segment_news(self, image: np.ndarray, known: np.ndarray, *, depth: np.ndarray | None = None) -> np.ndarray:
        """As `segment`."""
        return self._ask(image, depth, known)

    def segment_rendered(self, image: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """As `segment`."""
        return self._ask(image, depth, None, is_rendered=True)

    def _ask(
        self, image: np.ndarray, depth: np.ndarray | None, known: np.ndarray | None, is_rendered: bool = False
    ) -> np.ndarray:
        child = self._running()
        try:
            child.connection.send((image, depth, known, is_rendered))
            answer = child.connection.recv()
        except (EOFError, OSError) as error:
            raise MaskError("mask_process_ended", self._lost(child)) from error
        return _unpacked(answer)

    def abandon(self) -> None:
        """Kill a process that does not come back; an image in work fails."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End the process; the next image starts another."""
        self._end(signal.SIGTERM)

    def _running(self) -> _Child:
        with self._lock:
            if self._child is None or self._child.process.poll() is not None:
                self._child, self._is_ready = _start(self._kind, self._options, self._niceness), False
            child = self._child
            if not self._is_ready:
                try:
                    self.name, self.uses_depth, self.uses_known = _unpacked(child.connection.recv())
                except (EOFError, OSError) as error:
                    self._child = None
                    raise MaskError("mask_process_ended", _end_text(self._kind, child.status())) from error
                except MaskError:
                    self._child = None
                    child.end(signal.SIGTERM)
                    raise
                self._is_ready = True
            return child

    def _lost(self, child: _Child) -> str:
        self._forget(child)
        return _end_text(self.name, child.status())

    def _forget(self, child: _Child) -> None:
        with self._lock:
            if self._child is child:
                self._child = None

    def _end(self, how: signal.Signals) -> None:
        child = self._child  # whoever holds the lock may be waiting for this very process
        if child is not None:
            child.end(how)
            self._forget(child)


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen
    connection: Connection

    def end(self, how: signal.Signals) -> int:
        """Its exit status; minus a signal's number where that ended it."""
        self.process.send_signal(how)
        return self.status()

    def status(self) -> int:
        """The same of one that is ending by itself."""
        try:
            return self.process.wait(_END_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _start(kind: str, options: dict, niceness: int) -> _Child:
    ours, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,  # Ctrl-C and a terminal that closes reach all of its processes; the parent decides
    )
    theirs.close()
    ours.send((kind, options, niceness))
    return _Child(process, ours)


def _unpacked(answer: tuple):
    """What the other process made; raises MaskError where it failed."""
    is_made, *content = answer
    if is_made:
        return content[0]
    reason, message, trace = content
    raise MaskError(reason, message) from _RemoteTrace(trace)


class _RemoteTrace(Exception):
    """The other process's traceback, as text: the cause of an error that is handed over."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _end_text(name: str, status: int) -> str:
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    return f"the process of mask source {name!r} ended {how}; the next image starts another (see the log)"


def _answer(make) -> tuple:
    try:
        return True, make()
    except MaskError as error:
        return False, error.reason, str(error), traceback.format_exc()
    except Exception as error:  # models raise anything
        return False, "mask_source_failed", f"{type(error).__name__}: {error}", traceback.format_exc()


def _serve(connection: Connection) -> None:
    """Make masks until the other end is closed."""
    kind, options, niceness = connection.recv()
    os.nice(niceness)
    made: list[MaskSource] = []

    def create() -> tuple[str, bool, bool]:
        source = create_mask_source(kind, **options)
        if source is None:
            raise MaskError("unknown_kind", f"mask source {kind!r} makes no masks: it needs no process")
        made.append(source)
        return source.name, source.uses_depth, source.uses_known

    connection.send(_answer(create))
    while made:
        image, depth, known, is_rendered = connection.recv()
        if known is not None:
            make = partial(made[0].segment_news, image, known)
        else:
            make = partial(made[0].segment_rendered if is_rendered else made[0].segment, image)
        connection.send(_answer(partial(make, depth=depth)))


def _end_with(parent: int) -> None:
    """End this process soon after its parent, whatever it is at."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def main() -> int:
    """The child: make the source, then answer image by image until the parent closes the connection or ends."""
    descriptor, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal's processes; the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        _serve(Connection(descriptor))
    except (EOFError, OSError):  # the parent has closed its end, or is gone
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
