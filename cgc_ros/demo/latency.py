"""How fast the node is on this machine: label latency, rates, CPU use and query time while a recording plays in a loop.

    python -m cgc_ros.demo.latency RECORDING [--rate 30] [--seconds 40] [--masks graph] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from cgc_ros.demo.observer import Observer
from cgc_ros.demo.processes import Companion, DemoError
from cgc_ros.demo.run import CAMERA_TOPIC, isolate, node_arguments
from cgc_ros.sequences import SequenceError

_START_TIMEOUT_S = 60.0
_WARM_UP_S = 5.0  # left out of the figures: imports, first kernels
_QUERIES = 20


def measure(recording: str, rate: float = 30.0, seconds: float = 40.0, masks: str = "graph") -> dict[str, object]:
    """Figures over `seconds` of raw images at `rate` Hz, after a warm-up. Raises DemoError, TimeoutError."""
    isolate()
    # A looped recording jumps from its last pose to its first; that is no fault here.
    parameters = {"mask_source": "topic" if masks == "given" else masks, "pose_jump": 0.0}
    arguments = [recording, "--rate", str(rate), "--raw", "--loop", *(["--masks"] if masks == "given" else [])]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments_of_node = node_arguments(parameters)
        node = stack.enter_context(Companion("node", "cgc_ros.ros.node", arguments_of_node, folder / "node.log"))
        observer = stack.enter_context(Observer(CAMERA_TOPIC))
        _wait_for(lambda: observer.heard.status, [node])
        player = stack.enter_context(Companion("player", "cgc_ros.demo.player", arguments, folder / "player.log"))
        _wait_for(lambda: observer.heard.labels, [node, player])
        _sleep(_WARM_UP_S, [node, player])
        process, heard, before = psutil.Process(node.pid), observer.heard, observer.heard.status
        process.cpu_percent()
        first, start = heard.labels, time.monotonic()
        _sleep(seconds, [node, player])
        elapsed, cpu, after = time.monotonic() - start, process.cpu_percent(), heard.status
        queries = [observer.query()[1] for _ in range(_QUERIES)]
    latencies_ms = 1e3 * np.array(heard.latencies[first:])
    counts = [dict(zip(each.drop_reasons, each.drop_counts, strict=True)) for each in (before, after)]
    return {
        "image_rate_hz": round((after.frames_received - before.frames_received) / elapsed, 1),
        "label_rate_hz": round(len(latencies_ms) / elapsed, 1),
        "label_latency_ms_p50": round(float(np.median(latencies_ms)), 1),
        "label_latency_ms_p95": round(float(np.quantile(latencies_ms, 0.95)), 1),
        "node_cpu_percent_of_one_core": round(cpu),
        "steps_per_second": round((after.steps - before.steps) / elapsed, 1),
        "frames_used": after.frames_used - before.frames_used,
        "frames_dropped": {reason: int(count - counts[0].get(reason, 0)) for reason, count in counts[1].items()},
        "query_ms_p50": round(1e3 * float(np.median(queries)), 1),
        "objects": after.objects,
        "gaussians": after.gaussians,
        "resident_memory_mb": round(after.resident_memory_mb),
        "machine_load_before": round(psutil.getloadavg()[2], 1),
        "cores": psutil.cpu_count(),
    }


def _wait_for(condition, companions: list[Companion]) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        _sleep(0.1, companions)
        if time.monotonic() > end:
            raise DemoError(f"nothing came within {_START_TIMEOUT_S:.0f} s:\n{companions[-1].tail()}")


def _sleep(seconds: float, companions: list[Companion]) -> None:
    time.sleep(seconds)
    for each in companions:
        each.check()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the node's latency, rates and CPU use on this machine.")
    parser.add_argument("recording", help="folder layout, rosbag2/MCAP, COLMAP or nerfstudio sequence")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default: 30)")
    parser.add_argument("--seconds", type=float, default=40.0, help="how long to measure (default: 40)")
    parser.add_argument("--masks", default="graph", choices=("graph", "given", "none"), help="mask source")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = vars(parser.parse_args(arguments))
    target = options.pop("json")
    try:
        figures = measure(**options)
    except (DemoError, SequenceError, TimeoutError, OSError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 1
    Console().print_json(json.dumps(figures))
    if target:
        target.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
