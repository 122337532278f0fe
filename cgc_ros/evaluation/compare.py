"""Several runs in one table, as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from cgc_ros.evaluation import html_page
from cgc_ros.evaluation.figures import FIGURE_GROUPS, FIGURES, Figure, read_json, read_metrics
from cgc_ros.evaluation.held_out import SCORES_FILE
from cgc_ros.evaluation.machine import summarise_machine
from cgc_ros.evaluation.object_changes import ObjectChange, known_objects, object_changes
from cgc_ros.evaluation.plots import history_plots
from cgc_ros.evaluation.view_images import jpeg_uri
from cgc_ros.palette import overlay_picture
from cgc_ros.run_files import EVAL_FOLDER, HISTORY_FILE

MAX_VIEWS = 6  # held-out views shown side by side
PICTURE_WIDTH = 400  # pixels


@dataclass(frozen=True)
class Run:
    """One run's folder as read."""

    name: str
    metrics: dict
    history: list[dict]  # records over time, empty where the run kept none
    instances: list[dict]  # of eval/scores.json, empty before `cgc eval`
    folder: Path = Path()


def load_run(run_dir: Path, name: str) -> Run:
    """Read a run's folder; RunError where it holds no metrics.json."""
    run_dir = Path(run_dir)
    metrics = read_metrics(run_dir, required=True)
    history_path, scores_path = run_dir / HISTORY_FILE, run_dir / EVAL_FOLDER / SCORES_FILE
    history = read_json(history_path).get("records", []) if history_path.exists() else []
    instances = read_json(scores_path).get("instances", []) if scores_path.exists() else []
    return Run(name, metrics, history, instances, run_dir)


def load_runs(run_dirs: Sequence[Path]) -> list[Run]:
    """Read several folders, named by the shortest tails of their paths that tell them apart."""
    paths = [Path(run_dir).resolve() for run_dir in run_dirs]
    depth = 1
    while depth < max(len(path.parts) for path in paths) and len({path.parts[-depth:] for path in paths}) < len(
        set(paths)
    ):
        depth += 1
    return [load_run(path, str(Path(*path.parts[-depth:]))) for path in paths]


def best_runs(figure: Figure, runs: Sequence[Run]) -> set[int]:
    """Indices of the runs with the best value of a figure; empty where none is better than another."""
    values = {index: run.metrics.get(figure.key) for index, run in enumerate(runs)}
    known = {index: value for index, value in values.items() if isinstance(value, (int, float))}
    if not figure.better or len(known) < 2:
        return set()
    texts = {index: figure.text(value) for index, value in known.items()}  # runs that read alike are equally good
    best = (max if figure.better == "higher" else min)(known, key=lambda index: known[index])
    winners = {index for index, text in texts.items() if text == texts[best]}
    return set() if len(winners) == len(known) else winners


def shown_figures(runs: Sequence[Run]) -> list[tuple[str, list[Figure]]]:
    """Groups of figures of which at least one run has one."""
    groups = [
        (title, [f for f in figures if any(run.metrics.get(f.key) is not None for run in runs)])
        for title, figures in FIGURE_GROUPS
    ]
    return [(title, figures) for title, figures in groups if figures]


def recordings(runs: Sequence[Run]) -> list[str]:
    """Names of the recordings that the runs were scored on; several mean that their figures do not compare."""
    return sorted({str(run.metrics.get("eval_sequence") or run.metrics.get("sequence") or "unknown") for run in runs})


def differing_settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """How the runs were set up, where they differ: names of settings to one text per run, `–` for a default."""
    known = [_settings(run.metrics.get("run") or {}) for run in runs]
    names = dict.fromkeys(name for settings in known for name in settings)
    rows = {name: [str(settings.get(name, "–")) for settings in known] for name in names}
    return {name: texts for name, texts in rows.items() if len(set(texts)) > 1}


def _settings(described: dict) -> dict[str, object]:
    """What metrics.json says of a run's set-up; the mapper's own settings by their dotted names."""
    plain = {name: value for name, value in described.items() if name != "settings" and value is not None}
    return (described.get("settings") or {}) | plain


def run_changes(runs: Sequence[Run]) -> list[ObjectChange] | None:
    """What objects did from the first of two runs to the second; None for other numbers, or where a run's folder does
    not tell of objects.
    """
    if len(runs) != 2:
        return None
    before, after = (known_objects(run.folder) for run in runs)
    return None if before is None or after is None else object_changes(before, after)


def comparison_json(runs: Sequence[Run]) -> dict:
    """Figure keys, and settings that differ, to one value per run, beside the runs' names; what objects did between
    two.
    """
    changes = run_changes(runs)
    return {
        "changes": None if changes is None else [change.record() for change in changes],
        "runs": [run.name for run in runs],
        "recordings": recordings(runs),
        "settings": differing_settings(runs),
        "figures": {figure.key: [run.metrics.get(figure.key) for run in runs] for figure in FIGURES},
    }


def write_comparison(path: Path, runs: Sequence[Run]) -> None:
    """Write the page: settings that differ, the table of figures, curves over time on shared axes, IoU per instance,
    held-out views.
    """
    body = [html_page.section("Figures", _figure_table(runs))]
    if settings := differing_settings(runs):
        body.insert(0, html_page.section("Settings that differ", _setting_table(runs, settings)))
    if changes := run_changes(runs):
        body.append(html_page.section("Objects that changed", _change_table(changes)))
    curves = history_plots({run.name: run.history for run in runs if run.history})
    if curves:
        body.append(html_page.section("Over time", html_page.plots(curves)))
    if any(run.instances for run in runs):
        body.append(html_page.section("IoU per instance", _instance_table(runs)))
    views = _shared_views(runs)
    if views:
        body.append(html_page.section("Held-out views", _view_note(), *(_view(runs, name) for name in views)))
    machines = {summarise_machine(run.metrics["machine"]) for run in runs if run.metrics.get("machine")}
    footer = "Mapped on " + "; ".join(sorted(machines)) + "." if machines else "Machine not recorded."
    names = recordings(runs)
    subtitle = f"On {names[0]}." if len(names) == 1 else f"On different recordings, take care: {', '.join(names)}."
    title = "One run" if len(runs) == 1 else f"{len(runs)} runs compared"
    Path(path).write_text(html_page.page(title, subtitle, body, footer))


def _shared_views(runs: Sequence[Run]) -> list[str]:
    """Names of held-out views that every run has pictures of, at most MAX_VIEWS, spread over the recording."""
    found = [{path.stem for path in (run.folder / EVAL_FOLDER / "render").glob("*.png")} for run in runs]
    names = sorted(set.intersection(*found)) if len(recordings(runs)) == 1 else []
    return names[:: max(1, -(-len(names) // MAX_VIEWS))]


def _view_note() -> str:
    return '<p class="soft">Each run\'s render and, below, its objects. Click a picture to enlarge it.</p>'


def _view(runs: Sequence[Run], name: str) -> str:
    """One row of renders and one of label images, a column per run; runs whose files are gone are left out."""
    renders, labels = [], []
    for run in runs:
        render = cv2.imread(str(run.folder / EVAL_FOLDER / "render" / f"{name}.png"), cv2.IMREAD_COLOR)
        ids = cv2.imread(str(run.folder / EVAL_FOLDER / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        if render is None or ids is None or ids.shape != render.shape[:2]:
            continue
        render = np.ascontiguousarray(render[..., ::-1])
        renders.append(html_page.figure(jpeg_uri(render, PICTURE_WIDTH), run.name))
        labels.append(html_page.figure(jpeg_uri(overlay_picture(render, ids), PICTURE_WIDTH), run.name))
    rows = "".join(f'<div class="views">{"".join(row)}</div>' for row in (renders, labels))
    return f"<h3>{escape(name)}</h3>{rows}"


def _figure_table(runs: Sequence[Run]) -> str:
    rows = []
    for title, figures in shown_figures(runs):
        rows.append(f'<tr class="group"><td colspan="{len(runs) + 1}">{title}</td></tr>')
        for figure in figures:
            best = best_runs(figure, runs)
            cells = "".join(
                f'<td class="n{" best" * (index in best)}">{escape(figure.text(run.metrics.get(figure.key)))}</td>'
                for index, run in enumerate(runs)
            )
            rows.append(f"<tr><td>{escape(figure.title)}</td>{cells}</tr>")
    return html_page.table((("Figure", False), *((run.name, True) for run in runs)), rows)


def _setting_table(runs: Sequence[Run], settings: dict[str, list[str]]) -> str:
    rows = []
    for name, texts in settings.items():
        cells = "".join(f'<td class="n">{escape(text)}</td>' for text in texts)
        rows.append(f"<tr><td><code>{escape(name)}</code></td>{cells}</tr>")
    return html_page.table((("Setting", False), *((run.name, True) for run in runs)), rows)


def _change_table(changes: Sequence[ObjectChange]) -> str:
    rows = []
    for each in changes:
        places = (" ".join(f"{value:.2f}" for value in place or ()) for place in (each.place_before, each.place))
        cells = "".join(f'<td class="n">{place or "–"}</td>' for place in places)
        rows.append(f"<tr><td>{each.kind}</td><td>{escape(each.label or 'object')} {each.id}</td>{cells}</tr>")
    return html_page.table((("Change", False), ("Object", False), ("Was at, m", True), ("Is at, m", True)), rows)


def _instance_table(runs: Sequence[Run]) -> str:
    names = {(item["id"], item["name"]): item["kind"] for run in runs for item in run.instances}
    by_run = [{(item["id"], item["name"]): item["iou"] for item in run.instances} for run in runs]
    rows = []
    for key, kind in sorted(names.items(), key=lambda entry: (entry[1] != "object", entry[0])):
        cells = "".join(
            f'<td class="n">{ious[key]:.3f}</td>' if key in ious else '<td class="n">–</td>' for ious in by_run
        )
        rows.append(f'<tr><td>{escape(key[1])}</td><td class="soft">{escape(kind)}</td>{cells}</tr>')
    return html_page.table((("Instance", False), ("Kind", False), *((run.name, True) for run in runs)), rows)
