"""Plots of a run against time, as SVG text that goes straight into a page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_INK, _GRID = "#5b6470", "#d8dde3"
_LEGEND_COLUMNS = 3
_SERIES = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#475569")


@dataclass(frozen=True)
class Curve:
    """One quantity of history.json over seconds."""

    key: str
    title: str
    unit: str


CURVES = (
    Curve("train_psnr", "PSNR while training", "dB"),
    Curve("objects", "Objects", ""),
    Curve("gaussians", "Gaussians", ""),
    Curve("keyframes", "Keyframes held", ""),
    Curve("steps_per_second", "Training steps", "/s"),
    Curve("rss_mb", "Resident memory", "MB"),
)


def history_plots(histories: Mapping[str, Sequence[dict]], curves: Sequence[Curve] = CURVES) -> list[str]:
    """One SVG per curve that any run has samples of; runs of several names share the axes.

    histories: run name -> records of history.json, each with `t` (seconds since the first frame).
    """
    plots = []
    for curve in curves:
        lines = {
            name: [(record["t"], record[curve.key]) for record in records if record.get(curve.key) is not None]
            for name, records in histories.items()
        }
        lines = {name: points for name, points in lines.items() if len(points) > 1}
        if lines:
            plots.append(_plot(curve, lines))
    return plots


def _plot(curve: Curve, lines: dict[str, list[tuple[float, float]]]) -> str:
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "cgc"}):
        legend_rows = math.ceil(len(lines) / _LEGEND_COLUMNS) if len(lines) > 1 else 0
        figure = Figure(figsize=(4.4, 2.5 + 0.2 * legend_rows), layout="constrained")
        axes = figure.subplots()
        for color, (name, points) in zip(_SERIES * (1 + len(lines) // len(_SERIES)), lines.items(), strict=False):
            seconds, values = zip(*points, strict=True)
            axes.plot(seconds, values, color=color, linewidth=1.8, label=name)
        axes.set_title(f"{curve.title}{f', {curve.unit}' if curve.unit else ''}", loc="left", fontsize=10, color=_INK)
        axes.set_xlabel("seconds since the first frame", fontsize=8, color=_INK)
        axes.grid(color=_GRID, linewidth=0.6)
        axes.tick_params(colors=_INK, labelsize=8, length=0)
        axes.margins(x=0)
        if curve.unit != "dB":
            axes.set_ylim(bottom=0)
        axes.spines[:].set_visible(False)
        if legend_rows:  # below: lines may run anywhere within
            figure.legend(loc="outside lower left", ncols=_LEGEND_COLUMNS, fontsize=8, frameon=False, labelcolor=_INK)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), curve.key)


def _inline(svg: str, prefix: str) -> str:
    """The <svg> element alone, its ids made unique so that several share one page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    return re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{prefix}-\2"', svg)
