"""The viewer's words and numbers, as plain text and as HTML; names are escaped wherever they enter HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from cgc_ros.mapping import MapObject, MapSnapshot, SessionStatus
from cgc_ros.palette import id_color

STATE_COLORS = {"mapping": "#2b8a3e", "paused": "#e67700", "waiting": "#868e96", "stopped": "#868e96"}

#: Rows and tool buttons are plain buttons of viser; a browser that does not know :has() shows them as such.
STYLE = """<style>
.cgc-table {width: 100%; border-collapse: collapse; font-size: 13px; line-height: 1.55}
.cgc-table td:first-child {color: #868e96; padding-right: 0.8em; white-space: nowrap; width: 1%}
.cgc-table td {padding: 0; vertical-align: top; overflow-wrap: anywhere}
.cgc-note {font-size: 13px; color: #868e96; line-height: 1.45}
.cgc-fault {font-size: 13px; color: #c92a2a; line-height: 1.45; padding-top: 0.4em}
.cgc-dot {display: inline-block; width: 0.65em; height: 0.65em; border-radius: 50%; margin-right: 0.4em}
.cgc-pad {padding: 0.1em 0.65em 0.5em 0.65em}
div:has(> .cgc-rows) ~ div button {
  height: auto !important; padding: 0.3em 0.6em; background: transparent; color: inherit; font-weight: 400;
  border: 1px solid #e9ecef; border-left: 7px solid var(--button-bg); text-align: left}
div:has(> .cgc-rows) ~ div button:hover {background: #f1f3f5; color: inherit}
div:has(> .cgc-rows) ~ div button[data-with-left-section] {background: #e7f5ff; border-color: var(--button-bg)}
div:has(> .cgc-rows) ~ div button .mantine-Button-inner {justify-content: flex-start}
div:has(> .cgc-rows) ~ div button .mantine-Button-label {
  display: block; white-space: pre-line; line-height: 1.35; font-size: 12px; height: auto; color: #495057}
div:has(> .cgc-rows) ~ div button .mantine-Button-label::first-line {
  font-weight: 600; font-size: 13.5px; color: #212529}
div:has(> .cgc-tools) ~ div:has(> button) {
  display: inline-block; width: calc(50% - 0.85em); margin: 0 0 0 0.55em !important}
</style>"""


def title_of(item: MapObject) -> str:
    """Its name, or its number while it has none."""
    return item.label or f"object {item.id}"


def size_text(size: np.ndarray) -> str:
    """Edges [3] in metres, longest first: `19 × 9 × 8 cm`, in metres from one metre on."""
    edges = sorted(np.asarray(size, dtype=float).tolist(), reverse=True)
    if edges[0] >= 1.0:
        return " × ".join(f"{edge:.2f}" for edge in edges) + " m"
    return " × ".join(f"{100 * edge:.0f}" if edge >= 0.095 else f"{100 * edge:.1f}" for edge in edges) + " cm"


def row_text(item: MapObject, hidden: bool) -> str:
    """Two lines for the list."""
    notes = [size_text(item.box.size), counted(item.num_views, "view")]
    notes += [f"name {100 * item.label_confidence:.0f} %"] if 0 < item.label_confidence < 1 else []
    notes += ["background"] if item.background else []
    notes += ["pinned"] if item.pinned else []
    notes += ["hidden"] if hidden else []
    return f"{title_of(item)}\n{' · '.join(notes)}"


def counted(number: int, noun: str) -> str:
    """1 object, 2 objects."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def object_html(item: MapObject, parts: Sequence[MapObject] = ()) -> str:
    """The facts about one object and its parts, each with the colour that it has in the 3D view."""
    center = ", ".join(f"{value:.2f}" for value in item.box.center)
    rows = [("number", str(item.id) + (" (background)" if item.background else ""))]
    if item.label:
        sure = f" ({100 * item.label_confidence:.0f} %)" if item.label_confidence < 1 else ""
        rows.append(("name", html.escape(item.label) + sure))
    rows += [
        ("size", size_text(item.box.size)),
        ("centre", f"{center} m"),
        ("seen in", f"{counted(item.num_views, 'keyframe')}, confidence {100 * item.confidence:.0f} %"),
        ("cloud", counted(len(item.points), "point")),
    ]
    if parts:
        rows.append(("parts", "<br>".join(map(_part_line, parts))))
    return _padded(_table(rows))


def _part_line(part: MapObject) -> str:
    return f"{_dot(id_color(part.id))}{part.id}: {size_text(part.box.size)}"


def _dot(rgb: tuple[int, int, int]) -> str:
    return f'<span class="cgc-dot" style="background:#{bytes(rgb).hex()}"></span>'


def status_html(
    status: SessionStatus | None, snapshot: MapSnapshot | None, keyframes: int, faults: dict[str, str]
) -> str:
    """The state of the map, and of the session where there is one; its active faults below, then the viewer's own."""
    if status is None:
        state, color = "saved map", "#1c7ed6"
    else:
        state, color = status.state, STATE_COLORS.get(status.state, "#868e96")
    gaussians = 0 if snapshot is None else snapshot.num_gaussians
    rows = [
        ("state", f'<span class="cgc-dot" style="background:{color}"></span>{html.escape(state)}'),
        ("map", f"{counted(gaussians, 'Gaussian')}, {counted(keyframes, 'keyframe')}"),
    ]
    if status is not None:
        dropped = sum(status.dropped.values())
        lost = f", {dropped:,} dropped" if dropped else ""
        psnr = f", {status.train_psnr:.1f} dB" if math.isfinite(status.train_psnr) else ""
        rows += [
            ("frames", f"{status.frames_used:,} of {status.frames_received:,} used{lost}"),
            ("training", f"{status.steps:,} steps, {status.steps_per_second:.1f}/s{psnr}"),
            ("runs on", html.escape(f"{status.backend}, masks: {status.mask_source}")),
        ]
        faults = status.faults | faults
    listed = (
        f'<div class="cgc-fault"><b>{html.escape(name)}</b>: {html.escape(text)}</div>' for name, text in faults.items()
    )
    return _padded(_table(rows) + "".join(listed))


def note_html(text: str) -> str:
    """A line of explanation, in grey."""
    return _padded(f'<div class="cgc-note">{html.escape(text)}</div>')


def _table(rows: list[tuple[str, str]]) -> str:
    """Rows of a plain key and a value that is HTML already."""
    cells = "".join(f"<tr><td>{html.escape(key)}</td><td>{value}</td></tr>" for key, value in rows)
    return f'<table class="cgc-table">{cells}</table>'


def _padded(content: str) -> str:
    return f'<div class="cgc-pad">{content}</div>'
