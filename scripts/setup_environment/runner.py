"""Steps that run once per state of their inputs, with logs, clear failures and one line of progress each."""

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
BUILD = ROOT / ".build"
STAMPS = VENV / ".setup"
LOGS = BUILD / "setup"

# Of a sourced ROS distribution, another environment or a re-executed interpreter: they would mix into ours.
FOREIGN_VARIABLES = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "ROS_DISTRO",
    "ROS_VERSION",
    "ROS_PYTHON_VERSION",
    "VIRTUAL_ENV",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
)


class SetupError(Exception):
    """A step failed; the message says what to do."""


@dataclass
class Step:
    name: str
    summary: str  # what it does, for the user
    inputs: list[Path]  # files and folders; the step is run again when any of them changes
    action: Callable[[Path], None]  # called with the path of its log
    advice: str  # what to do when it fails
    key: str = ""  # what else the result depends on


class Runner:
    def __init__(self) -> None:
        self.started = time.monotonic()
        self.durations: dict[str, float] = {}

    def run(self, step: Step) -> None:
        fingerprint = fingerprint_of(step.inputs, step.key)
        stamp = STAMPS / step.name
        if stamp.exists() and stamp.read_text() == fingerprint:
            return
        log = LOGS / f"{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        self._say(step.summary)
        started = time.monotonic()
        try:
            step.action(log)
        except SetupError as error:
            raise SetupError(f"{step.summary}: failed.\n{error}\n{step.advice}\nThe whole log: {log}") from error
        self.durations[step.name] = time.monotonic() - started
        self._say(f"  done: {step.name}, {self.durations[step.name]:.0f} s")
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(fingerprint)

    @contextmanager
    def in_background(self, steps: list[Step]) -> Iterator[None]:
        """Run the steps, one after another, while the body runs; leaving it waits for them and raises their error."""
        failures: list[SetupError] = []

        def work() -> None:
            try:
                for step in steps:
                    self.run(step)
            except SetupError as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if failures:
            raise failures[0]

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:5.0f} s] {text}", flush=True)


def fingerprint_of(inputs: list[Path], key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for top in inputs:
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for file in files:
            if "__pycache__" not in file.parts and file.exists():
                digest.update(f"{file.relative_to(ROOT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def base_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}


def venv_environment() -> dict[str, str]:
    """For commands of .venv, whose root is an ament prefix like that of a ROS distribution."""
    return {
        **base_environment(),
        "VIRTUAL_ENV": str(VENV),
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "AMENT_PREFIX_PATH": str(VENV),
        "CMAKE_PREFIX_PATH": str(VENV),
        "CMAKE_GENERATOR": "Ninja",
    }


def run_logged(command: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run a command with its output appended to the log. Raises SetupError with the end of that output."""
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        try:
            process = subprocess.run(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT
            )
        except OSError as error:
            raise SetupError(f"{command[0]} could not be started: {error}") from error
    if process.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-25:]
        raise SetupError(
            "\n".join(f"    {line}" for line in tail) + f"\n{command[0]} ended with code {process.returncode}."
        )


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold off other set-ups of the same checkout."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: another set-up of this checkout is running; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
