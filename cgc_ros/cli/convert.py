"""`cgc convert`: a recording of any format as the folder layout, or as a bag that can be played to the node."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, note, print_json
from cgc_ros.cli.recordings import add_reader_options, open_recording
from cgc_ros.progress import progress_bar

_DESCRIPTION = """\
Write a recording as the folder layout (DIR), or as a rosbag2 recording: one .mcap file, or with --format bag a folder.
Images are kept as they are, lens distortion included, depth in millimetres, poses in the recording's own world.
"""


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="write a recording as a folder or an MCAP bag",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sequence", metavar="SEQ", type=Path, help="a recording, of any format in docs/sequences.md")
    parser.add_argument(
        "--out", metavar="DIR|BAG", type=Path, required=True, help="what to write: a folder, or a file BAG.mcap"
    )
    parser.add_argument(
        "--format",
        choices=("auto", "folder", "bag"),
        default="auto",
        help="auto: a bag where --out ends with .mcap, else the folder layout",
    )
    add_reader_options(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and say what was left out."""
    sequence = open_recording(arguments.sequence, arguments.read)
    note(f"{sequence.name}: read as {sequence.source}")
    as_bag = arguments.format == "bag" or arguments.format == "auto" and arguments.out.suffix == ".mcap"
    if as_bag:
        from cgc_ros.sequences.mcap_writer import write_mcap as write
    else:
        from cgc_ros.sequences.folder_writer import write_folder as write
    with progress_bar("converting") as update:
        conversion = write(sequence, arguments.out, lambda done, total: update(done, total, f"frame {done}/{total}"))
    told = [*sequence.warnings, *conversion.report()]
    for text in told:
        note(f"{sequence.name}: {text}")
    if arguments.json:
        kind = "bag" if as_bag else "folder"
        print_json({"out": str(arguments.out), "format": kind, "frames": conversion.frames, "warnings": told})
    else:
        print(f"{arguments.out}: {conversion.frames} of {len(sequence)} frames")
    return 0
