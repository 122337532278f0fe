"""Names of the files of a run's folder: what `cgc map` writes and the other commands read."""

from __future__ import annotations

from pathlib import Path

from cgc_ros.evaluation.figures import RunError

MAP_FILE = "map.cgc"
OBJECTS_FILE = "objects.json"
HISTORY_FILE = "history.json"
PREVIEWS_FOLDER = "previews"
EVAL_FOLDER = "eval"
REPORT_FILE = "report.html"


def map_path(run_dir: Path | str) -> Path:
    """The map of a run's folder, or the map file itself where one is named; RunError where there is none."""
    path = Path(run_dir).expanduser()
    if path.is_dir():
        path = path / MAP_FILE
    if not path.exists():
        raise RunError(f"{path} does not exist: give a folder written by `cgc map SEQ --out DIR`, or a saved map")
    return path
