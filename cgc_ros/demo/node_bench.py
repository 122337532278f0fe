"""How fast the node is on this machine: label latency, rates, CPU use and query times while a recording plays."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from cgc_ros.demo.many_objects import write_map
from cgc_ros.demo.observer import Observer
from cgc_ros.demo.processes import Companion, DemoError, isolate, node_arguments
from cgc_ros.evaluation.machine import describe_machine, summarise_machine
from cgc_ros.srv import LoadMap

_START_TIMEOUT_S = 60.0
_WARM_UP_S = 5.0  # left out of the figures: imports, first kernels
_ADVANCE_HZ = 5.0  # frames of the recording per second: the camera moves as it did, however many images it sends
_NUM_OBJECTS = 200
_QUERIES, _QUERY_PERIOD_S = 100, 0.1


def run_node_bench(
    recording: str | Path, rate: float, seconds: float, masks: str = "auto", out_dir: Path = Path("out/demo")
) -> int:
    """Measure, print a table, write `out_dir`/node.json. Raises DemoError, SequenceError, TimeoutError, OSError."""
    console = Console()
    console.print(f"playing {recording} at {rate:g} Hz in a loop for {seconds:g} s, then {_NUM_OBJECTS} objects")
    figures = measure(str(recording), rate, seconds, masks)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "node.json").write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(show_header=False, box=None)
    for name, value in figures.items():
        if name != "machine":
            table.add_row(name, str(value))
    console.print(table)
    console.print(f"on {summarise_machine(figures['machine'])}; written to {out_dir / 'node.json'}", soft_wrap=True)
    return 0


def measure(recording: str, rate: float, seconds: float, masks: str = "auto") -> dict[str, Any]:
    """Figures over `seconds` of raw images at `rate` Hz, after a warm-up, then of queries about 200 objects.

    Somebody listens to label images, objects and status; nobody to overlays and renders. Latencies in milliseconds:
    `label_latency` from the image's stamp to the publication, `label_arrival` to its arrival at the subscriber. Queries
    come from a third process; `unpacking` is its own share of them.
    """
    isolate()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_map(folder / "many.cgc", _NUM_OBJECTS)
        # A looped recording jumps from its last pose to its first; that is no fault here.
        parameters = {
            "mask_source": "topic" if masks == "given" else "graph",
            "pose_jump": 0.0,
            "map_directory": folder,
        }
        node = Companion("node", "cgc_ros.ros.node", node_arguments(parameters), folder / "node.log")
        stack.enter_context(node)
        observer = stack.enter_context(Observer())
        _wait_for(lambda: observer.heard.has_status, [node])
        arguments = [recording, "--rate", str(rate), "--advance", str(_ADVANCE_HZ), "--raw", "--loop"]
        arguments += ["--masks"] if masks == "given" else []
        player = stack.enter_context(Companion("player", "cgc_ros.demo.player", arguments, folder / "player.log"))
        companions = [node, player]
        _wait_for(lambda: observer.heard.labels, companions)
        _sleep(_WARM_UP_S, companions)
        figures = _stream_figures(observer, companions, seconds)
        figures |= {f"query_{key}": value for key, value in _query_figures(folder, companions).items()}
        loaded = observer.call(LoadMap, "load_map", name="many")
        if not loaded.success:
            raise DemoError(loaded.message)
        _wait_for(lambda: observer.heard.status.objects >= _NUM_OBJECTS, companions)
        for key, value in _query_figures(folder, companions).items():
            figures[f"query_{_NUM_OBJECTS}_{key}"] = value
    return figures | {"machine": describe_machine()}


def _stream_figures(observer: Observer, companions: list[Companion], seconds: float) -> dict[str, object]:
    heard, clocks = observer.heard, [_CpuClock(each.pid) for each in companions]
    first, before, start = heard.labels, heard.status, time.monotonic()
    published = []  # the node's own p50 and p95, of its last 300 label images
    while time.monotonic() - start < seconds:
        _sleep(1.0, companions)
        published.append((heard.status.label_latency_ms_p50, heard.status.label_latency_ms_p95))
    elapsed, after = time.monotonic() - start, heard.status
    node_cpu, player_cpu = (round(100 * clock.seconds() / elapsed) for clock in clocks)
    arrivals_ms = 1e3 * np.array(heard.latencies[first:])
    counts = [dict(zip(each.drop_reasons, each.drop_counts, strict=True)) for each in (before, after)]
    p50, p95 = np.median(published, axis=0)
    return {
        "images_in_hz": round((after.frames_received - before.frames_received) / elapsed, 1),
        "label_images_hz": round(len(arrivals_ms) / elapsed, 1),
        "label_latency_ms_p50": round(float(p50), 1),
        "label_latency_ms_p95": round(float(p95), 1),
        "label_arrival_ms_p50": round(float(np.median(arrivals_ms)), 1),
        "label_arrival_ms_p95": round(float(np.quantile(arrivals_ms, 0.95)), 1),
        "node_cpu_percent_of_one_core": node_cpu,
        "player_cpu_percent_of_one_core": player_cpu,
        "frames_in": after.frames_received - before.frames_received,
        "frames_used": after.frames_used - before.frames_used,
        "frames_dropped": {reason: int(count - counts[0].get(reason, 0)) for reason, count in counts[1].items()},
        "training_steps_hz": round((after.steps - before.steps) / elapsed, 1),
        "objects": after.objects,
        "gaussians": after.gaussians,
        "resident_memory_mb": round(after.resident_memory_mb),
    }


class _CpuClock:
    """Processor time of a process and those that it started (masks have one of their own), since this was made."""

    def __init__(self, pid: int):
        process = psutil.Process(pid)
        self._times = {each: sum(each.cpu_times()[:2]) for each in [process, *process.children()]}

    def seconds(self) -> float:
        return sum(sum(each.cpu_times()[:2]) - before for each, before in self._times.items())


def _has_ended(companion: Companion) -> bool:
    return not companion.is_running


def _query_figures(folder: Path, companions: list[Companion]) -> dict[str, float]:
    """Milliseconds of ~/query_objects for a program of its own, without and with clouds, while images come."""
    figures: dict[str, float] = {}
    for name, options, count in (("", [], _QUERIES), ("clouds_", ["--clouds"], _QUERIES // 5)):
        arguments = [str(count), str(_QUERY_PERIOD_S), *options]
        with Companion("asker", "cgc_ros.demo.asker", arguments, folder / "asker.log") as asker:
            _wait_for(partial(_has_ended, asker), [*companions, asker])
            asker.check()
            found = json.loads(asker.tail(1))
        figures |= {f"{name}{key}": value for key, value in found.items()}
    return figures


def _wait_for(condition: Callable[[], object], companions: list[Companion]) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        _sleep(0.1, companions)
        if time.monotonic() > end:
            raise DemoError(f"nothing came within {_START_TIMEOUT_S:.0f} s:\n{companions[-1].tail()}")


def _sleep(seconds: float, companions: list[Companion]) -> None:
    time.sleep(seconds)
    for each in companions:
        each.check()
