"""`cgc eval`: score a map on the held-out views of a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_backend, add_json, note, print_figures, print_json
from cgc_ros.cli.recordings import add_reader_options, open_recording
from cgc_ros.progress import progress_bar

_DESCRIPTION = """\
Score a map on the views that a recording holds out. Writes the figures into DIR/metrics.json (null where the recording
lacks the ground truth), every held-out view into DIR/eval/{render,labels,depth}/, and a page, DIR/eval/report.html.
"""


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="score a map on held-out views",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="folder that `cgc map` wrote")
    parser.add_argument(
        "sequence", metavar="SEQ", type=Path, help="the recording it was mapped from, or another of the same place"
    )
    parser.add_argument(
        "--floaters-against",
        metavar="DIR2",
        type=Path,
        help="folder of a long run on the same recording (`cgc map SEQ --recipe paper`): the share of pixels that are "
        "nearer than 0.6 of its depth",
    )
    add_reader_options(parser)
    add_backend(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report, and print the figures."""
    from cgc_ros.evaluation.evaluate_run import evaluate_run

    sequence = open_recording(arguments.sequence, arguments.read)
    with progress_bar("evaluating") as update:
        metrics, report = evaluate_run(
            arguments.run_dir,
            sequence,
            arguments.backend,
            converged_dir=arguments.floaters_against,
            on_view=lambda done, total: update(done, total, f"view {done}/{total}"),
        )
    for warning in metrics.get("eval_warnings", []):
        note(f"left out: {warning}")
    if arguments.json:
        print_json(metrics)
    else:
        print_figures(metrics, f"{sequence.name}: held-out views")
        print(f"\nreport: {report}")
    return 0
