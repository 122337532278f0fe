"""`cgc doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, print_checks, print_json


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="what works here, what is missing and how to get it",
        description="Say what works on this machine, what is missing, and the command that gets it. "
        "Exit status 1 where no backend can map.",
    )
    parser.add_argument(
        "--sam-checkpoint", metavar="FILE", type=Path, help="check that segment-anything can use these weights"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check everything and print one screen; 1 where mapping cannot run."""
    from cgc_ros.cli.checks import check_machine

    checks = check_machine(arguments.sam_checkpoint)
    can_map = not any(check.state == "missing" for check in checks)
    if arguments.json:
        print_json({"can_map": can_map, "checks": [vars(check) for check in checks]})
    else:
        print_checks(
            checks,
            "[green]Mapping works here.[/] Next: cgc map SEQ --out out/run"
            if can_map
            else "[red]Mapping cannot run here:[/] mend what is marked ✗ above.",
        )
    return 0 if can_map else 1
