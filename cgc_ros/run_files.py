"""The files of a run's folder: what `cgc map` writes and the other commands read."""

from __future__ import annotations

from pathlib import Path

MAP_FILE = "map.cgc"
METRICS_FILE = "metrics.json"
OBJECTS_FILE = "objects.json"
EVENTS_FILE = "events.json"
HISTORY_FILE = "history.json"
PREVIEWS_FOLDER = "previews"
EVAL_FOLDER = "eval"
REPORT_FILE = "report.html"


class RunError(ValueError):
    """A folder or file of a run that cannot be used; the message names it and the remedy."""


def map_path(run_dir: Path | str) -> Path:
    """The map of a run's folder, or the map file itself where one is named; RunError where there is none."""
    path = Path(run_dir).expanduser()
    if path.is_dir():
        path = path / MAP_FILE
    if not path.exists():
        raise RunError(f"{path} does not exist: give a folder written by `cgc map SEQ --out DIR`, or a saved map")
    return path
