"""The demo's other processes: the node and the player, each with its log, ended whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_STOP_TIMEOUT_S = 10.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


class Companion:
    """One `python -m` process. Context manager: SIGINT at the end, as a user would, then harder."""

    def __init__(self, name: str, module: str, arguments: list[str], log: Path):
        self.name, self.log = name, log
        self._stream = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """Raise DemoError where the process ended with an error."""
        code = self._process.poll()
        if code not in (None, 0):
            raise DemoError(f"the {self.name} ended with exit status {code}; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> int:
        """End the process; its exit status."""
        if self.is_running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._stream.close()
        return self._process.returncode
