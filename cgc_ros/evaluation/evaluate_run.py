"""Evaluate the map of a run's folder, and merge the figures into what mapping wrote there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.change_metrics import noticed_events, score_events
from cgc_ros.evaluation.figures import CONTRACT_KEYS, read_json, read_metrics, write_json
from cgc_ros.evaluation.held_out import evaluate
from cgc_ros.evaluation.machine import describe_machine
from cgc_ros.evaluation.recalibrated import recalibrate_as_mapped
from cgc_ros.evaluation.report import write_report
from cgc_ros.mapping.saved_map import open_map
from cgc_ros.run_files import EVAL_FOLDER, HISTORY_FILE, METRICS_FILE, REPORT_FILE, RunError
from cgc_ros.sequences import Sequence


def evaluate_run(
    run_dir: Path,
    sequence: Sequence,
    backend: str = "auto",
    *,
    converged_dir: Path | None = None,
    on_view: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict, Path]:
    """Score the map, write metrics.json, eval/ and the report; the metrics and the report's path.

    What mapping measured (times, latencies, memory, id stability) stays; keys nobody measured are null.
    `converged_dir`: the folder of a long run on the same recording, against which floaters are counted.
    Raises RunError, MapFileError and SequenceError.
    """
    run_dir = Path(run_dir).expanduser()
    if not run_dir.is_dir():
        raise RunError(f"{run_dir} is not a folder: give the DIR of `cgc map SEQ --out DIR`")
    metrics = read_metrics(run_dir)
    mapper = open_map(run_dir, backend)
    sequence.recentre(mapper.origin)
    recalibrate_as_mapped(sequence, metrics)
    snapshot = mapper.snapshot()
    converged = None
    if converged_dir is not None:
        other = open_map(converged_dir, backend)
        if not np.array_equal(other.origin, mapper.origin):
            raise RunError(
                f"the map in {converged_dir} has its origin at {other.origin.tolist()}, that in {run_dir} at "
                f"{mapper.origin.tolist()}: give the folder of a run on the same recording"
            )
        converged = other.snapshot()
    evaluation = evaluate(snapshot, sequence, run_dir / EVAL_FOLDER, converged=converged, on_view=on_view)

    changes, _ = score_events(noticed_events(run_dir, sequence.origin), sequence)
    metrics = {key: None for key in CONTRACT_KEYS} | metrics | evaluation.metrics | changes
    metrics["num_keyframes"] = len(mapper.keyframes)
    metrics.setdefault("sequence", sequence.name)
    metrics["eval_sequence"], metrics["eval_machine"] = sequence.name, describe_machine()
    metrics["floaters_against"] = None if converged_dir is None else Path(converged_dir).name
    metrics["eval_warnings"] = evaluation.warnings
    write_json(run_dir / METRICS_FILE, metrics)

    history_path = run_dir / HISTORY_FILE
    history = read_json(history_path).get("records", []) if history_path.exists() else []
    report = run_dir / EVAL_FOLDER / REPORT_FILE
    write_report(report, metrics, history, evaluation)
    return metrics, report
