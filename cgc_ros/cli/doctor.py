"""`cgc doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, print_json

_MARKS = {"ok": "[green]✓[/]", "optional": "[yellow]–[/]", "missing": "[red]✗[/]"}


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
        _print_screen(checks, can_map)
    return 0 if can_map else 1


def _print_screen(checks, can_map: bool) -> None:
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
        table.add_row(check.group if check.group != group else "", _MARKS[check.state], check.name, detail)
        group = check.group
    console = Console()
    console.print(table)
    console.print()
    if can_map:
        console.print("[green]Mapping works here.[/] Next: cgc map SEQ --out out/run")
    else:
        console.print("[red]Mapping cannot run here:[/] mend what is marked ✗ above.")
