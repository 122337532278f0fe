"""The `cgc` command. Nothing heavy is imported before a command runs, so that help and usage errors come at once."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from cgc_ros import __version__
from cgc_ros.cli import apps, bench, check, compare, convert, doctor, evaluate, export, mapping, render
from cgc_ros.cli.console import fail, is_user_error, missing_module

#: One module per command, or per few that belong together; each has `add_parsers(subparsers)`.
COMMANDS = (doctor, check, mapping, evaluate, compare, convert, render, export, bench, apps)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
a first run:
  cgc doctor                               what works on this machine
  cgc map SEQ --out out/run                map a recording
  cgc eval out/run SEQ                     score it on views it has never seen

SEQ is a folder with images/ and poses.csv, a rosbag2 or MCAP recording, a COLMAP model, a nerfstudio transforms.json,
or a recording of a public data set or phone app (docs/sequences.md).
exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. What a user can cause is told in one line on stderr; a traceback is a bug."""
    command = ""
    try:
        arguments = _parser().parse_args(_join_signed_values(sys.argv[1:] if argv is None else list(argv)))
        command = arguments.command
        return arguments.run(arguments)
    except KeyboardInterrupt:
        fail(command, "interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # what a user can mend is told in one line; the rest is raised again
        message = missing_module(error) or (error if is_user_error(error) else None)
        if message is None:
            raise
        fail(command, message)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgc",
        description="Labelled 3D objects from a camera stream: map, evaluate and inspect Gaussian maps.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cgc_ros {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parsers(subparsers)
    return parser


def _join_signed_values(arguments: list[str]) -> list[str]:
    """`--pose -1,2,...` as `--pose=-1,2,...`: argparse would take a list that starts with a minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.fullmatch(r"--\w[\w-]*", joined[-1]) and re.match(r"-[\d.][^,]*,", argument):
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined
