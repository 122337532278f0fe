"""The report page of one evaluated run: figures, curves, objects, and every held-out view side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cgc_ros.evaluation import html_page
from cgc_ros.evaluation.figures import FIGURE_GROUPS, FIGURES
from cgc_ros.evaluation.held_out import Evaluation, InstanceReport, ViewScore
from cgc_ros.evaluation.machine import summarise_machine
from cgc_ros.evaluation.plots import history_plots
from cgc_ros.evaluation.view_images import jpeg_uri, label_error_picture
from cgc_ros.frame import UNLABELLED
from cgc_ros.palette import id_color, label_picture, overlay_picture

#: Pictures are drawn smaller where there are many, so that the page stays below about 20 MB.
PICTURE_BYTES_BUDGET = 20e6
_HEADLINES = (
    "psnr",
    "ssim",
    "scene_miou",
    "scene_mbiou",
    "ap50",
    "id_stability",
    "num_objects",
    "label_latency_ms_p95",
)


def write_report(path: Path, metrics: dict, history: Sequence[dict], evaluation: Evaluation) -> None:
    """Write the page. metrics: all of metrics.json; history: the records of history.json, empty without one."""
    run = metrics.get("run") or {}
    headline = ((figure.text(metrics.get(figure.key)), figure.title) for figure in _headline_figures(metrics))
    body = [html_page.cards(headline)]
    if evaluation.warnings:
        body.append(html_page.section("Left out", *(f"<p>{escape(text)}</p>" for text in evaluation.warnings)))
    curves = history_plots({"run": history}) if history else []
    if curves:
        body.append(html_page.section("Quality and size over time", html_page.plots(curves)))
    if evaluation.instances:
        body.append(html_page.section("Instances", _instance_note(), _instance_table(evaluation.instances)))
    body.append(html_page.section("Held-out views", _view_note(), *_views(evaluation)))
    body.append(html_page.section("All figures", _figure_table(metrics)))
    title = f"{metrics.get('sequence', 'Map')}: evaluation"
    path.write_text(html_page.page(title, _subtitle(run), body, _footer(metrics)))


def _headline_figures(metrics: dict):
    by_key = {figure.key: figure for figure in FIGURES}
    return [by_key[key] for key in _HEADLINES if metrics.get(key) is not None]


def _subtitle(run: dict) -> str:
    parts = [
        f"{run[key]} {word}"
        for key, word in (("backend", "backend"), ("masks", "masks"), ("recipe", "recipe"))
        if run.get(key)
    ]
    if run.get("depth"):
        parts.append("with depth" if run["depth"] == "used" else "without depth")
    if run.get("rate_hz"):
        parts.append(f"fed at {run['rate_hz']:g} Hz")
    if run.get("interrupted"):
        parts.append("interrupted")
    return ", ".join(parts)


def _footer(metrics: dict) -> str:
    machine = metrics.get("machine")
    place = f"Mapped on {summarise_machine(machine)}. " if machine else ""
    return place + "Figures as defined in docs/evaluation.md; the pictures they come from lie beside this page."


def _figure_table(metrics: dict) -> str:
    rows = []
    for title, figures in FIGURE_GROUPS:
        rows.append(f'<tr class="group"><td colspan="3">{title}</td></tr>')
        for figure in figures:
            rows.append(
                f'<tr><td>{escape(figure.title)}</td><td class="n">{escape(figure.text(metrics.get(figure.key)))}</td>'
                f'<td class="soft"><code>{figure.key}</code></td></tr>'
            )
    return html_page.table((("Figure", False), ("Value", True), ("Key in metrics.json", False)), rows)


def _instance_note() -> str:
    return (
        '<p class="soft">Ground-truth instances, one predicted id matched to each over all views together (Hungarian). '
        "The scene's means are over instances of kind object.</p>"
    )


def _instance_table(instances: Sequence[InstanceReport]) -> str:
    ordered = sorted(instances, key=lambda instance: (instance.kind != "object", instance.iou))
    header = (
        ("Instance", False),
        ("Kind", False),
        ("IoU", True),
        ("", False),
        ("Boundary IoU", True),
        ("3D IoU", True),
        ("Predicted id", True),
        ("Pixels", True),
    )
    return html_page.table(header, (_instance_row(instance) for instance in ordered))


def _instance_row(instance: InstanceReport) -> str:
    color = "transparent" if instance.predicted_id is None else f"rgb{id_color(instance.predicted_id)}"
    matched = "none" if instance.predicted_id is None else str(instance.predicted_id)
    cloud = "–" if instance.cloud_iou is None else f"{instance.cloud_iou:.3f}"
    return (
        f"<tr><td>{escape(instance.name)}</td><td class='soft'>{escape(instance.kind)}</td>"
        f"<td class='n'>{instance.iou:.3f}</td>"
        f"<td style='width: 150px'><span class='bar' style='width: {140 * instance.iou:.0f}px'></span></td>"
        f"<td class='n'>{instance.boundary_iou:.3f}</td><td class='n'>{cloud}</td>"
        f"<td class='n'><span class='chip' style='background: {color}'></span>{matched}</td>"
        f"<td class='n'>{instance.pixels:,}</td></tr>"
    )


def _view_note() -> str:
    return (
        '<p class="soft">Never shown to the mapper. Colour error: brightest at a quarter of full scale. '
        "Label error: red where a true instance lacks the id matched to it. Click a picture to enlarge it.</p>"
    )


def _views(evaluation: Evaluation) -> list[str]:
    matched = {instance.id: instance.predicted_id for instance in evaluation.instances}
    pictures_per_view = 6 if evaluation.instances else 4
    bytes_each = PICTURE_BYTES_BUDGET / max(1, len(evaluation.views) * pictures_per_view)
    width = int(min(400, max(160, (bytes_each * 6) ** 0.5)))  # JPEG of a 4:3 picture takes about width^2 / 6 bytes
    return [_view(view, matched, width) for view in evaluation.views]


def _view(view: ViewScore, matched: dict[int, int | None], width: int) -> str:
    pictures = [
        ("input", view.recorded),
        ("render", view.rendered),
        ("colour error", view.error),
        ("labels", overlay_picture(view.recorded, view.labels)),
    ]
    if view.truth is not None:
        truth = view.truth.copy()
        truth[truth == 0] = UNLABELLED
        # The truth is drawn in the colours of the ids matched to it, so that right pixels look alike in both pictures.
        for truth_id, predicted_id in matched.items():
            truth[view.truth == truth_id] = truth_id if predicted_id is None else predicted_id
        pictures.append(("truth", overlay_picture(view.recorded, truth)))
        pictures.append(("label error", label_error_picture(view.recorded, view.truth, view.labels, matched)))
    else:
        pictures.append(("ids", label_picture(view.labels)))
    caption = f"{view.name}: PSNR {view.psnr:.2f} dB, SSIM {view.ssim:.3f}"
    if view.depth_median_error_m is not None:
        caption += f", depth error {1000 * view.depth_median_error_m:.1f} mm"
    figures = "".join(html_page.figure(jpeg_uri(picture, width), f"{name}") for name, picture in pictures)
    return f'<h3>{escape(caption)}</h3><div class="views">{figures}</div>'
