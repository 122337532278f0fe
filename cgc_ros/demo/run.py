"""`cgc demo`: a recording played as a camera, the real node beside it, and a user who listens, asks and leaves
pictures.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cgc_ros.demo.montage import DrawnObject, write_pictures
from cgc_ros.demo.observer import Observer
from cgc_ros.demo.processes import Companion, DemoError
from cgc_ros.demo.summary import Summary, summarize, write_summary
from cgc_ros.msg import Object
from cgc_ros.ros.conversions.clouds import points_from_message
from cgc_ros.ros.dds import prepare_transports
from cgc_ros.sequences import open_sequence

_ROOT = Path(__file__).parents[2]
_RECORDING = _ROOT / "demo" / "tabletop"
_NODE_TIMEOUT_S, _LABEL_TIMEOUT_S = 60.0, 60.0
_TICK_S = 0.2
_LINE_PERIOD_S = 5.0  # between progress lines where there is no terminal
_STAGE = 14  # characters that tell one stage of the demo from the next, which gets a line at once
_REMAPS = {
    "image": "/camera/color/image_raw",
    "camera_info": "/camera/color/camera_info",
    "depth": "/camera/depth/image_raw",
    "masks": "/camera/masks",
}
_CAMERA_TOPIC = "/camera/color/image_raw/compressed"


def run_demo(
    out_dir: str | Path = "out/demo",
    recording: str | Path | None = None,
    rate: float | None = None,
    settle: float = 35.0,
    masks: str = "auto",
    measure: float | None = None,
) -> int:
    """Play `recording` (default: the product's own) at `rate` Hz (default: 5), map on for `settle` seconds, write
    pictures and figures.

    `masks`: given (the recording's own, on the node's `masks` topic), graph (the built-in source), auto: given where
    there are some. `measure`: no pictures; instead the node's speed over so many seconds of the recording played in a
    loop, at 30 Hz unless `rate` says otherwise, with masks from graph unless given.
    Returns 0; a failure is printed with its remedy and returns 1.
    """
    console = Console()
    try:
        if measure is not None:
            from cgc_ros.demo.node_bench import run_node_bench

            return run_node_bench(recording or _RECORDING, rate or 30.0, measure, masks, Path(out_dir))
        summary, folder = _run(Path(out_dir), Path(recording or _RECORDING), rate or 5.0, settle, masks, console)
    except (DemoError, TimeoutError, OSError, ValueError) as error:
        console.print(f"[red]demo failed:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    console.print(f"\npictures, table and figures are in {folder}: montage.png shows it all", soft_wrap=True)
    return 0 if summary.objects else 1


def _run(
    folder: Path, recording: Path, rate: float, settle: float, masks: str, console: Console
) -> tuple[Summary, Path]:
    sequence = open_sequence(recording)
    use_given = masks == "given" or (masks == "auto" and sequence.has_masks)
    if masks == "given" and not sequence.has_masks:
        raise DemoError(f"{recording} has no masks: use masks 'graph'")
    folder.mkdir(parents=True, exist_ok=True)
    isolate()
    parameters = {"mask_source": "topic" if use_given else "graph", "objects_rate": 1.0, "render_rate": 2.0}
    with ExitStack() as stack:
        node = stack.enter_context(
            Companion("node", "cgc_ros.ros.node", node_arguments(parameters), folder / "node.log")
        )
        observer = stack.enter_context(Observer(_CAMERA_TOPIC))
        bar = stack.enter_context(_Display(console, len(sequence) / rate + settle))
        _wait(
            bar,
            "starting the node",
            lambda: observer.heard.status,
            _NODE_TIMEOUT_S,
            [node],
            (
                "nothing was heard from the node: DDS does not get through on this machine (a firewall on the "
                "loopback interface, a "
                f"container without network namespaces, or another ROS_DOMAIN_ID); see {folder / 'node.log'}"
            ),
        )
        arguments = [
            str(recording),
            "--rate",
            str(rate),
            "--hold",
            str(settle + 60),
            *(["--masks"] if use_given else []),
        ]
        player = stack.enter_context(Companion("player", "cgc_ros.demo.player", arguments, folder / "player.log"))
        _wait(
            bar,
            "starting the camera",
            lambda: observer.heard.labels,
            _LABEL_TIMEOUT_S,
            [node, player],
            lambda: (
                "no label image came; faults that the node names: "
                f"{', '.join(observer.heard.status.faults) or 'none'}; see {folder}/*.log"
            ),
        )
        seconds = len(sequence) / rate + settle
        _watch(bar, observer, seconds, len(sequence), [node, player])
        response, query_s = observer.query(include_clouds=True, include_background=True)
        views = observer.same_view()
        position = observer.heard.camera_position
        summary = summarize(
            sequence.name,
            "given with the recording, on a topic" if use_given else "built-in graph source",
            rate,
            observer.heard,
            list(response.objects),
            query_s,
        )
    if not response.success or views is None:
        raise DemoError(
            f"the node could not answer at the end: {response.message or 'no render or overlay came'}; see "
            f"{folder / 'node.log'}"
        )
    things = [_drawn(each) for each in response.objects if not each.background and each.cloud.width > 0]
    write_pictures(folder, *views, things, np.asarray(position))
    write_summary(folder, summary, console)
    return summary, folder


def isolate() -> None:
    """A domain of this demo's own on this machine only, so that a robot nearby neither hears nor disturbs it."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randrange(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    prepare_transports()


def node_arguments(parameters: dict[str, object]) -> list[str]:
    """Of `python -m cgc_ros.ros.node`: the parameter file, these parameters over it, and the player's topics."""
    arguments = ["--ros-args"]
    defaults = _ROOT / "config" / "cgc.yaml"
    if defaults.is_file():
        arguments += ["--params-file", str(defaults)]
    for name, topic in _REMAPS.items():
        arguments += ["-r", f"{name}:={topic}"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return arguments


def _wait(bar: _Display, text: str, condition, timeout_s: float, companions: list[Companion], complaint) -> None:
    """Until `condition()`; DemoError with the complaint after the timeout, or where a companion ends."""
    end = time.monotonic() + timeout_s
    while not condition():
        for companion in companions:
            companion.check()
        if time.monotonic() > end:
            raise DemoError(complaint() if callable(complaint) else complaint)
        bar.show(text)
        time.sleep(_TICK_S)


def _watch(bar: _Display, observer: Observer, seconds: float, frames: int, companions: list[Companion]) -> None:
    """Show progress for as long as the recording and the settling last."""
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        for companion in companions:
            companion.check()
        heard, status = observer.heard, observer.heard.status
        stage = (
            f"playing, frame {min(heard.images, frames)} of {frames}"
            if heard.images < frames
            else "camera stands still, map is refined"
        )
        things = 0 if heard.objects is None else sum(not each.background for each in heard.objects.objects)
        latency = f", labels {np.median(heard.latencies[-20:]) * 1e3:.0f} ms" if heard.latencies else ""
        bar.show(f"{stage}: {things} objects, {status.gaussians} Gaussians, {status.steps} steps{latency}", elapsed)
        time.sleep(_TICK_S)


def _drawn(each: Object) -> DrawnObject:
    packed = points_from_message(each.cloud)
    points = np.stack([packed["x"], packed["y"], packed["z"]], axis=1)
    colors = np.stack([packed["rgb"] >> 16 & 255, packed["rgb"] >> 8 & 255, packed["rgb"] & 255], axis=1).astype(
        np.uint8
    )
    center, size = each.box.center.position, each.box.size
    return DrawnObject(
        each.id,
        each.label or str(each.id),
        np.array([center.x, center.y, center.z]),
        np.array([size.x, size.y, size.z]),
        points,
        colors,
    )


class _Display:
    """A progress bar on a terminal, a line every few seconds and at each stage elsewhere."""

    def __init__(self, console: Console, total_s: float):
        self._console, self._total_s = console, total_s
        self._last, self._stage = -_LINE_PERIOD_S, ""
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=total_s)

    def __enter__(self) -> _Display:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()

    def show(self, text: str, done_s: float = 0.0) -> None:
        """Where things stand; `done_s` of the total."""
        if self._console.is_terminal:
            self._progress.update(self._task, description=text, completed=done_s)
        elif time.monotonic() - self._last >= _LINE_PERIOD_S or text[:_STAGE] != self._stage:
            self._last, self._stage = time.monotonic(), text[:_STAGE]
            line = f"[{done_s:5.1f} of {self._total_s:.0f} s] {text}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
