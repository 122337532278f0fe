"""The recording that a command reads, and what its reader is told."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.declared import SettingError

NUMBERS = ("_s", "_hz", "_unit")  # ends of the names of options that are numbers; the others are texts


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that reads a recording."""
    parser.add_argument(
        "--read",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="tell SEQ's reader, e.g. image_topic=/left/image_raw for a bag of several cameras (docs/sequences.md)",
    )


def open_recording(path: str | Path, options: list[str]):
    """The Sequence at `path`; `options` are `NAME=VALUE` for its reader. Raises SettingError and SequenceError."""
    from cgc_ros.sequences import open_sequence

    return open_sequence(path, **dict(map(_parsed, options)))


def _parsed(option: str) -> tuple[str, str | float]:
    name, equals, value = option.partition("=")
    if not equals or not name.isidentifier():
        raise SettingError(f"--read {option}: expected NAME=VALUE, e.g. image_topic=/left/image_raw")
    if not name.endswith(NUMBERS):
        return name, value
    try:
        return name, float(value)
    except ValueError:
        raise SettingError(f"--read {option}: {value!r} is not a number") from None
