"""`cgc bench`: how fast this machine rasterises and maps."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import add_backend, load_part, note, positive, positive_int, print_json
from cgc_ros.cli.recordings import add_reader_options, open_recording
from cgc_ros.progress import progress_bar

_DESCRIPTION = """\
raster: the rasteriser alone, forward, backward and training steps, against peers that are installed.
pipeline: a short mapping run, of a synthetic scene unless SEQ is given: keyframes/s, steps/s, label image latency.
"""


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "bench", help="measure speed", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("raster", "pipeline"), nargs="?", default="raster", help="(default: raster)")
    parser.add_argument("sequence", metavar="SEQ", type=Path, nargs="?", help="pipeline: a recording to map")
    add_reader_options(parser)
    parser.add_argument(
        "--budget", metavar="SECONDS", type=positive, default=30.0, help="pipeline: seconds to map (default: 30)"
    )
    parser.add_argument(
        "--json", metavar="FILE", dest="json_file", help="write the figures here; - prints them on stdout"
    )
    parser.add_argument("--threads", metavar="N", type=positive_int, default=2, help="raster: of the CPU (default: 2)")
    parser.add_argument("--quick", action="store_true", help="raster: two sizes instead of the whole table")
    parser.add_argument("--map", metavar="MAP", dest="map_file", type=Path, help="raster: measure this saved map, too")
    add_backend(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, write JSON where asked."""
    if arguments.what == "raster" and arguments.sequence:
        arguments.usage_error(
            f"raster takes no recording ({arguments.sequence}): did you mean `cgc bench pipeline SEQ`?"
        )
    figures = _raster(arguments) if arguments.what == "raster" else _pipeline(arguments)
    if arguments.json_file == "-":
        print_json(figures)
        return 0
    _print_table(figures)
    if arguments.json_file:
        from cgc_ros.evaluation.figures import write_json

        Path(arguments.json_file).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(arguments.json_file), figures)
        print(f"written to {arguments.json_file}")
    return 0


def _raster(arguments: argparse.Namespace) -> dict:
    run_raster_bench = load_part("cgc_ros.evaluation.raster_bench", "run_raster_bench", "the rasteriser's benchmark")
    return run_raster_bench(
        backend="cpu" if arguments.backend == "auto" else arguments.backend,  # the CPU's figures are the headline
        threads=arguments.threads,
        quick=arguments.quick,
        map_file=arguments.map_file,
        on_progress=lambda stage: note(f"measuring: {stage}"),
    )


def _pipeline(arguments: argparse.Namespace) -> dict:
    from cgc_ros.evaluation.pipeline_bench import run_pipeline_bench

    sequence = None
    if arguments.sequence:
        sequence = open_recording(arguments.sequence, arguments.read)
    else:
        note("mapping a synthetic scene; give a recording to measure yours: cgc bench pipeline SEQ")
    with progress_bar("mapping") as update:
        return run_pipeline_bench(
            sequence,
            backend=arguments.backend,
            budget=arguments.budget,
            on_progress=lambda state: update(state.seconds, state.budget, ""),
        )


#: Of the rasteriser's table, the columns that fit a terminal; the JSON has more.
_COLUMNS = {
    "gaussians": "Gaussians",
    "size": "size",
    "channels": "channels",
    "forward_ms": "forward ms",
    "backward_ms": "backward ms",
    "forward_ns_per_blend": "ns/blend",
    "backward_ns_per_blend": "ns/blend",
}

#: Of a map's rows.
_MAP_COLUMNS = {
    "map": "map",
    "gaussians": "Gaussians",
    "size": "size",
    "blends_per_pixel": "blends/pixel",
    "forward_ms": "forward ms",
    "backward_ms": "backward ms",
    "train_step_ms": "training step ms",
    "label_view_ms": "labels ms",
}


def _print_table(figures: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from cgc_ros.evaluation.machine import summarise_machine

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for key, value in figures.items():
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            table.add_row(key, _text(value))
    console = Console()
    console.print(table)
    for rows, columns in ((figures.get("table"), _COLUMNS), (figures.get("map"), _MAP_COLUMNS)):
        if not rows:
            continue
        details = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        for title in columns.values():
            details.add_column(title, justify="right")
        for row in rows:
            details.add_row(*(_text(row.get(key, "")) for key in columns))
        console.print()
        console.print(details)
    if isinstance(figures.get("machine"), dict):
        print(f"on {summarise_machine(figures['machine'])}")


def _text(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
