"""`cgc compare`: several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_json, note, print_json
from cgc_ros.run_files import map_path

MAX_CHANGES = 30  # objects listed in the terminal


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="set several runs side by side",
        description="Set several evaluated runs side by side: one table with the best values marked, and one page. "
        "Of two, an earlier and a later one, it also lists the objects that were removed, appeared or moved.",
    )
    parser.add_argument(
        "run_dirs",
        metavar="DIR",
        type=Path,
        nargs="+",
        help="folders that `cgc map` and `cgc eval` wrote; or two map files, a map before and after: their objects",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the page here")
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; write the page where asked."""
    from cgc_ros.evaluation.compare import comparison_json, load_runs, recordings, run_changes, write_comparison

    if any(path.is_file() for path in arguments.run_dirs):
        return _compare_maps(arguments)
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
    _print_changes(run_changes(runs))
    if arguments.html:
        print(f"page: {arguments.html}")
    return 0


def _compare_maps(arguments: argparse.Namespace) -> int:
    from cgc_ros.evaluation.object_changes import known_objects, object_changes

    if len(arguments.run_dirs) != 2 or arguments.html:
        arguments.usage_error("map files are compared by their objects, two at a time and without a page")
    before, after = (known_objects(path if path.is_dir() else map_path(path)) for path in arguments.run_dirs)
    changes = object_changes(before or [], after or [])
    if arguments.json:
        print_json({"maps": list(map(str, arguments.run_dirs)), "changes": [each.record() for each in changes]})
    else:
        _print_changes(changes)
    return 0


def _print_changes(changes) -> None:
    """`changes` None: nothing is known of them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if changes is None:
        return
    if not changes:
        print("No object was removed, appeared or moved.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("Objects", "", "was at", "is at", "moved"):
        table.add_column(title, justify="right" if title == "moved" else "left", overflow="fold")
    for each in changes[:MAX_CHANGES]:
        name = f"{each.label or 'object'} {each.id}"
        name += f" (was {each.id_before})" if each.id_before not in (None, each.id) else ""
        distance = "" if each.distance is None else f"{each.distance:.2f} m"
        table.add_row(each.kind, escape(name), _place(each.place_before), _place(each.place), distance)
    Console().print(table)
    if len(changes) > MAX_CHANGES:
        print(f"and {len(changes) - MAX_CHANGES} more: --json lists them all")


def _place(place: list[float] | None) -> str:
    return "" if place is None else ", ".join(f"{each:.2f}" for each in place)


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
