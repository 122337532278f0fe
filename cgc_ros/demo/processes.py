"""The demo's other processes: the node and the player, each with its log, ended whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cgc_ros.ros.dds import prepare_transports

ROOT = Path(__file__).parents[2]
_STOP_TIMEOUT_S = 10.0
_REMAPS = {
    "image": "/camera/color/image_raw",
    "camera_info": "/camera/color/camera_info",
    "depth": "/camera/depth/image_raw",
    "masks": "/camera/masks",
}


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


def isolate() -> None:
    """A domain of this demo's own on this machine only, so that a robot nearby neither hears nor disturbs it."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randrange(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    prepare_transports()


def node_arguments(parameters: Mapping[str, object]) -> list[str]:
    """Of `python -m cgc_ros.ros.node`: the parameter file, these parameters over it, and the player's topics."""
    arguments = ["--ros-args"]
    defaults = ROOT / "config" / "cgc.yaml"
    if defaults.is_file():
        arguments += ["--params-file", str(defaults)]
    for name, topic in _REMAPS.items():
        arguments += ["-r", f"{name}:={topic}"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return arguments


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
        """Of the process, also where it has ended."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
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
