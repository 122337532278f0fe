"""`cgc demo`: a recording played as a camera, the real node beside it, and a user who listens, asks and leaves
pictures.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from cgc_ros.demo.montage import DrawnObject, write_pictures
from cgc_ros.demo.observer import Observer
from cgc_ros.demo.processes import ROOT, Companion, DemoError, isolate, node_arguments
from cgc_ros.demo.summary import Summary, summarize, write_summary
from cgc_ros.msg import Object
from cgc_ros.progress import progress_bar
from cgc_ros.ros.conversions.clouds import points_from_message
from cgc_ros.sequences import open_sequence

_RECORDING = ROOT / "demo" / "tabletop"
_NODE_TIMEOUT_S, _LABEL_TIMEOUT_S = 60.0, 60.0
_TICK_S = 0.2
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
        _wait(
            console,
            "starting the node",
            lambda: observer.heard.has_status,
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
            console,
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
        _watch(console, observer, seconds, len(sequence), [node, player])
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


def _wait(console: Console, text: str, condition, timeout_s: float, companions: list[Companion], complaint) -> None:
    """Until `condition()`; DemoError with the complaint after the timeout, or where a companion ends."""
    start = time.monotonic()
    with progress_bar(text, console) as update:
        while not condition():
            for companion in companions:
                companion.check()
            elapsed = time.monotonic() - start
            if elapsed > timeout_s:
                raise DemoError(complaint() if callable(complaint) else complaint)
            update(elapsed, None)
            time.sleep(_TICK_S)


def _watch(console: Console, observer: Observer, seconds: float, frames: int, companions: list[Companion]) -> None:
    """Show progress for as long as the recording and the settling last."""
    start = time.monotonic()
    with progress_bar("playing and mapping", console) as update:
        while (elapsed := time.monotonic() - start) < seconds:
            for companion in companions:
                companion.check()
            update(elapsed, seconds, _standing(observer, frames))
            time.sleep(_TICK_S)


def _standing(observer: Observer, frames: int) -> str:
    """What has been played and mapped so far, in words."""
    heard, status = observer.heard, observer.heard.status
    stage = f"frame {heard.images} of {frames}" if heard.images < frames else "all frames played, the map is refined"
    things = 0 if heard.objects is None else sum(not each.background for each in heard.objects.objects)
    latency = f", labels {np.median(heard.latencies[-20:]) * 1e3:.0f} ms" if heard.latencies else ""
    return f"{stage}: {things} objects, {status.gaussians} Gaussians, {status.steps} steps{latency}"


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
