"""What the demo found and how fast: the table on screen, table.txt and demo.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cgc_ros.demo.observer import Heard
from cgc_ros.msg import Object


@dataclass(frozen=True)
class FoundObject:
    """One row of the table."""

    id: int
    label: str
    size_cm: tuple[float, float, float]  # of the oriented box
    center_m: tuple[float, float, float]  # map frame
    points: int
    views: int
    confidence: float


@dataclass(frozen=True)
class Summary:
    """Everything that demo.json holds; times in seconds."""

    recording: str
    masks: str
    machine: str
    objects: list[FoundObject]
    background_objects: int
    seconds_to_first_objects: float | None  # from the first image
    seconds_to_first_labelled_image: float | None
    images: int
    image_rate_hz: float
    label_images: int
    label_rate_hz: float
    label_latency_ms_p50: float | None
    label_latency_ms_p95: float | None
    query_ms: float
    keyframes: int
    gaussians: int
    training_steps: int
    train_psnr_db: float | None
    resident_memory_mb: float
    backend: str
    frames_dropped: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def summarize(recording: str, masks: str, rate: float, heard: Heard, objects: list[Object], query_s: float) -> Summary:
    """Of what the observer heard and what the last query answered."""
    status = heard.status
    things = sorted((each for each in objects if not each.background), key=lambda each: -each.num_views)
    seconds = heard.label_times[-1] - heard.label_times[0] if len(heard.label_times) > 1 else 0.0
    return Summary(
        recording=recording,
        masks=masks,
        machine=f"{platform.processor() or platform.machine()}, {_cores()} cores",
        objects=[_row(each) for each in things],
        background_objects=len(objects) - len(things),
        seconds_to_first_objects=_rounded(heard.first_objects),
        seconds_to_first_labelled_image=_rounded(heard.first_labelled),
        images=heard.images,
        image_rate_hz=rate,
        label_images=heard.labels,
        label_rate_hz=round((heard.labels - 1) / seconds, 2) if seconds > 0 else 0.0,
        label_latency_ms_p50=_quantile_ms(heard.latencies, 0.5),
        label_latency_ms_p95=_quantile_ms(heard.latencies, 0.95),
        query_ms=round(query_s * 1e3, 1),
        keyframes=status.keyframes,
        gaussians=status.gaussians,
        training_steps=status.steps,
        train_psnr_db=_rounded(status.train_psnr_db),
        resident_memory_mb=round(status.resident_memory_mb),
        backend=status.backend,
        frames_dropped=dict(zip(status.drop_reasons, map(int, status.drop_counts), strict=True)),
        faults=list(status.faults),
    )


def write_summary(folder: Path, summary: Summary, console: Console) -> None:
    """table.txt, demo.json, and the table on the console."""
    (folder / "demo.json").write_text(json.dumps(asdict(summary), indent=2) + "\n")
    written = StringIO()
    text = Console(file=written, width=100)
    for target in (console, text):
        for table in (_objects_table(summary), _figures_table(summary)):
            target.print(table)
    (folder / "table.txt").write_text(written.getvalue())


def _objects_table(summary: Summary) -> Table:
    table = Table(title=f"{len(summary.objects)} objects in {summary.recording}")
    for column in ("id", "name", "size, cm", "centre, m", "points", "views", "confidence"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for each in summary.objects:
        table.add_row(
            str(each.id),
            each.label or "-",
            " x ".join(f"{side:.0f}" for side in each.size_cm),
            "  ".join(f"{value:+.2f}" for value in each.center_m),
            str(each.points),
            str(each.views),
            f"{each.confidence:.2f}",
        )
    return table


def _figures_table(summary: Summary) -> Table:
    table = Table(title="how fast", show_header=False)
    rows = [
        ("first objects", f"{summary.seconds_to_first_objects} s after the first image"),
        (
            "label images",
            f"{summary.label_images} of {summary.images} images, {summary.label_rate_hz} Hz at "
            f"{summary.image_rate_hz:g} Hz input",
        ),
        (
            "label latency",
            f"p50 {summary.label_latency_ms_p50} ms, p95 {summary.label_latency_ms_p95} ms from image stamp to "
            "subscriber",
        ),
        ("~/query_objects", f"{summary.query_ms} ms with all clouds"),
        (
            "map",
            f"{summary.gaussians} Gaussians from {summary.keyframes} keyframes, {summary.training_steps} training "
            "steps, "
            f"{summary.train_psnr_db} dB on them",
        ),
        ("masks", summary.masks),
        ("memory", f"{summary.resident_memory_mb:.0f} MB"),
        ("backend", f"{summary.backend} on {summary.machine}"),
    ]
    if summary.faults:
        rows.append(("active faults", ", ".join(summary.faults)))
    for name, text in rows:
        table.add_row(name, text)
    return table


def _row(each: Object) -> FoundObject:
    size = tuple(
        round(100 * side, 1) for side in sorted((each.box.size.x, each.box.size.y, each.box.size.z), reverse=True)
    )
    center = each.box.center.position
    return FoundObject(
        each.id,
        each.label,
        size,
        tuple(round(value, 3) for value in (center.x, center.y, center.z)),
        each.cloud.width,
        each.num_views,
        round(each.confidence, 3),
    )


def _quantile_ms(seconds: list[float], quantile: float) -> float | None:
    return round(float(np.quantile(seconds, quantile)) * 1e3, 1) if seconds else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 2)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
