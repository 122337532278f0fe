"""The recording that a command reads, and what its reader is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cgc_ros.declared import SettingError

NUMBERS = ("_s", "_hz", "_unit", "_padding")  # ends of the names of options that are numbers; the others are texts


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that reads a recording."""
    parser.add_argument(
        "--read",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="tell SEQ's reader, e.g. image_topic=/left/image_raw for a bag of several cameras (docs/sequences.md)",
    )


def open_recording(path: str | Path, options: list[str], **defaults: Any):
    """The Sequence at `path`; `options` are `NAME=VALUE` for its reader, over the `defaults`. Raises SettingError and
    SequenceError.
    """
    from cgc_ros.sequences import open_sequence

    told: dict[str, Any] = dict(map(_parsed, options))
    return open_sequence(path, **(defaults | told))


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
