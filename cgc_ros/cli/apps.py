"""`cgc view` and `cgc demo`: programs with a room of their own, started from here."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgc_ros.cli.console import load_part, positive, positive_int


def add_parsers(subparsers) -> None:
    view = subparsers.add_parser(
        "view", help="look at a saved map in a browser", description="Serve a saved map as a web page."
    )
    view.add_argument("run_dir", metavar="DIR", type=Path, help="folder that `cgc map` wrote, or a saved map")
    view.add_argument("--port", type=positive_int, default=8080, help="of the web page (default: 8080)")
    view.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 serves the whole network, without a password (default: 127.0.0.1)"
    )
    view.set_defaults(run=run_view)
    demo = subparsers.add_parser(
        "demo",
        help="play a recording through the real ROS 2 node",
        description="What `make demo` runs: a recording played as a ROS 2 camera, the node, and its user.",
    )
    demo.add_argument("--out", metavar="DIR", type=Path, default=Path("out/demo"), help="(default: out/demo)")
    demo.add_argument("--recording", metavar="SEQ", type=Path, help="(default: the product's own)")
    demo.add_argument("--rate", metavar="HZ", type=positive, help="frames per second (default: 5, with --measure 30)")
    demo.add_argument("--settle", metavar="SECONDS", type=positive, help="mapping after the last frame")
    demo.add_argument(
        "--masks", choices=("auto", "graph", "given"), default="auto", help="(default: given where there are some)"
    )
    demo.add_argument(
        "--measure",
        metavar="SECONDS",
        type=positive,
        help="no pictures: the node's latency, rates, CPU use and query times while the recording plays in a loop",
    )
    demo.set_defaults(run=run_demo)


def run_view(arguments: argparse.Namespace) -> int:
    """Serve the map as a web page until Ctrl-C."""
    from cgc_ros.run_files import map_path

    path = map_path(arguments.run_dir)
    return int(load_part("cgc_ros.viewer", "run_viewer", "the web viewer")(path, arguments.host, arguments.port) or 0)


def run_demo(arguments: argparse.Namespace) -> int:
    """Play a recording to the node, or measure the node."""
    options = {
        "out_dir": arguments.out,
        "recording": arguments.recording,
        "rate": arguments.rate,
        "masks": arguments.masks,
        "measure": arguments.measure,
    }
    if arguments.settle is not None:
        options["settle"] = arguments.settle
    return int(load_part("cgc_ros.demo", "run_demo", "the demo")(**options) or 0)
