"""`cgc compare`: several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, note, print_json


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="set several runs side by side",
        description="Set several evaluated runs side by side: one table with the best values marked, and one page.",
    )
    parser.add_argument(
        "run_dirs", metavar="DIR", type=Path, nargs="+", help="folders that `cgc map` and `cgc eval` wrote"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the page here")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; write the page where asked."""
    from cgc_ros.evaluation.compare import comparison_json, load_runs, recordings, write_comparison

    runs = load_runs(arguments.run_dirs)
    if len(recordings(runs)) > 1:
        note(f"these runs are of different recordings ({', '.join(recordings(runs))}): take care")
    if arguments.html:
        arguments.html.parent.mkdir(parents=True, exist_ok=True)
        write_comparison(arguments.html, runs)
    if arguments.json:
        print_json(comparison_json(runs))
        return 0
    _print_table(runs)
    if arguments.html:
        print(f"page: {arguments.html}")
    return 0


def _print_table(runs) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cgc_ros.evaluation.compare import best_runs, differing_settings, shown_figures

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for run in runs:
        table.add_column(run.name, justify="right", overflow="fold")
    if settings := differing_settings(runs):
        table.add_row("[bold]Settings that differ")
        for name, texts in settings.items():
            table.add_row(f"  {escape(name)}", *map(escape, texts))
    for title, figures in shown_figures(runs):
        table.add_row(f"[bold]{title}")
        for figure in figures:
            best = best_runs(figure, runs)
            cells = [figure.text(run.metrics.get(figure.key)) for run in runs]
            table.add_row(
                f"  {figure.title}", *(f"[bold green]{text}" if i in best else text for i, text in enumerate(cells))
            )
    Console().print(table)
