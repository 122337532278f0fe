"""What every command shares: errors in one line, machine-readable output, tables, progress bars."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_MARKS = {"ok": "[green]✓[/]", "optional": "[yellow]–[/]", "missing": "[red]✗[/]"}


def fail(command: str, message: object) -> None:
    """One line on stderr."""
    program = f"cgc {command}" if command else "cgc"
    print(f"{program}: {' '.join(str(message).split())}", file=sys.stderr)


def note(message: str) -> None:
    """For people, on stderr, so that stdout stays machine-readable."""
    print(message, file=sys.stderr)


def is_user_error(error: Exception) -> bool:
    """Whether a user can mend an error by its message: this package's own kinds, and what the file system refuses."""
    return isinstance(error, OSError) or any(kind.__module__.startswith("cgc_ros.") for kind in type(error).__mro__)


def missing_module(error: Exception) -> str | None:
    """What to do where a library is not installed; None where the error is another one."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name.startswith("cgc_ros"):
        return None
    return f"{error.name} is not installed: `cgc doctor` tells what is missing and how to get it"


class NotInstalledError(ValueError):
    """A part of the product that is not on this machine; the message says how to get it."""


def load_part(module: str, name: str, what: str):
    """A function of a part that may be missing, or whose own dependencies may be."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        remedy = "" if str(error.name).startswith("cgc_ros") else f": pip install {error.name}"
        raise NotInstalledError(f"{what} cannot start: {error}{remedy}") from error
    except AttributeError:
        raise NotInstalledError(f"{what} is not part of this version ({module}.{name} does not exist)") from None


def print_json(value: object) -> None:
    """The one thing `--json` writes to stdout."""
    from cgc_ros.evaluation.figures import finite

    print(json.dumps(finite(value), indent=1))


def print_figures(metrics: dict, title: str) -> None:
    """The known figures of metrics.json as a table."""
    from rich.console import Console
    from rich.table import Table

    from cgc_ros.evaluation.figures import FIGURES

    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for figure in FIGURES:
        if metrics.get(figure.key) is not None:
            table.add_row(figure.title, figure.text(metrics[figure.key]))
    Console().print(table)


def print_checks(checks: Iterable, verdict: str) -> None:
    """Lines of a check, each with group, name, state (ok, optional, missing), detail and remedy; then the verdict."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    group = None
    for check in checks:
        detail = escape(check.detail) + (f"\n[dim]→ {escape(check.remedy)}[/]" if check.remedy else "")
        table.add_row(check.group if check.group != group else "", _MARKS[check.state], escape(check.name), detail)
        group = check.group
    console = Console()
    console.print(table)
    console.print()
    console.print(verdict)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGINT and SIGTERM both raise KeyboardInterrupt here, also where a shell started this in the background."""
    before = {name: signal.signal(name, signal.default_int_handler) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def not_negative(text: str) -> float:
    """A number, zero or above, for argparse."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is below zero")
    return value


def positive_int(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = _number(text)
    if value != int(value) or value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return int(value)


def numbers(count: int, names: str) -> Callable[[str], tuple[float, ...]]:
    """`count` finite numbers separated by commas, for argparse."""

    def parse(text: str) -> tuple[float, ...]:
        values = tuple(_number(part) for part in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} has {len(values)} numbers, wanted {count}: {names}")
        return values

    return parse


def add_backend(parser: argparse.ArgumentParser) -> None:
    """The option `--backend`."""
    parser.add_argument(
        "--backend",
        choices=("auto", "gsplat", "cpu"),
        default="auto",
        help="rasteriser: gsplat needs CUDA, cpu runs anywhere (default: gsplat where it works, else cpu)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON on stdout, and nothing else there"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value
