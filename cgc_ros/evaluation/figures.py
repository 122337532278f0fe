"""The figures of a run: their keys in metrics.json, how people read them, and which way is better."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from cgc_ros.run_files import METRICS_FILE, RunError


@dataclass(frozen=True)
class Figure:
    """One entry of metrics.json."""

    key: str
    title: str
    unit: str = ""
    digits: int = 2
    better: str = ""  # "higher", "lower", or "" where neither

    def text(self, value: object) -> str:
        """For tables; an en dash where the figure is unknown."""
        if value is None:
            return "–"
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return str(value)
        return f"{value:,.{self.digits}f}" + (f" {self.unit}" if self.unit else "")


QUALITY = (
    Figure("psnr", "PSNR", "dB", 2, "higher"),
    Figure("psnr_without_exposure", "PSNR, exposure left out", "dB", 2, "higher"),
    Figure("ssim", "SSIM", "", 3, "higher"),
    Figure("scene_miou", "Scene mIoU", "", 3, "higher"),
    Figure("scene_mbiou", "Scene mBIoU", "", 3, "higher"),
    Figure("ap50", "AP50 in 3D", "", 3, "higher"),
    Figure("ap25", "AP25 in 3D", "", 3, "higher"),
    Figure("depth_median_error_m", "Depth error, median", "m", 4, "lower"),
    Figure("depth_median_error_share", "Depth error, median, share of range", "", 4, "lower"),
    Figure("depth_coverage", "Depth known, share of measured pixels", "", 3, "higher"),
    Figure("floating_share", "Floating before a converged map's surfaces, share of pixels", "", 4, "lower"),
    Figure("id_stability", "Id stability", "", 4, "higher"),
    Figure("id_stability_second_half", "Id stability, second half", "", 4, "higher"),
    Figure("event_precision", "Events, precision", "", 3, "higher"),
    Figure("event_recall", "Events, recall", "", 3, "higher"),
    Figure("event_delay_frames", "Events, delay, median", "frames", 1, "lower"),
    Figure("moved_ids_kept", "Ids kept by what was moved", "", 3, "higher"),
    Figure("moved_position_error_m", "Position error of what was moved, median", "m", 4, "lower"),
    Figure("moved_rotation_error_deg", "Rotation error of what was moved, median", "deg", 1, "lower"),
)
SPEED = (
    Figure("seconds_mapping", "Mapping time", "s", 1),
    Figure("steps_per_second", "Training steps", "/s", 1, "higher"),
    Figure("training_share", "Share of the mapper's time spent training", "", 3, "higher"),
    Figure("keyframes_per_second", "Keyframes", "/s", 2, "higher"),
    Figure("label_latency_ms_p50", "Label image, median", "ms", 1, "lower"),
    Figure("label_latency_ms_p95", "Label image, 95th percentile", "ms", 1, "lower"),
)
SIZE = (
    Figure("num_objects", "Objects", "", 0),
    Figure("num_gaussians", "Gaussians", "", 0),
    Figure("num_keyframes", "Keyframes held", "", 0),
    Figure("num_views_scored", "Held-out views", "", 0),
    Figure("peak_rss_mb", "Peak memory", "MB", 0, "lower"),
    Figure("peak_gpu_mb", "Peak GPU memory", "MB", 0, "lower"),
)
FIGURE_GROUPS = (("Quality", QUALITY), ("Speed", SPEED), ("Size", SIZE))
FIGURES = QUALITY + SPEED + SIZE

#: Those of them that tell of changes (`change_metrics`).
CHANGE_KEYS = (
    "event_precision",
    "event_recall",
    "event_delay_frames",
    "moved_ids_kept",
    "moved_position_error_m",
    "moved_rotation_error_deg",
)

#: Keys that `cgc eval` always writes, null where unknown.
CONTRACT_KEYS = (
    "psnr",
    "ssim",
    "scene_miou",
    "scene_mbiou",
    "ap50",
    "ap25",
    "num_objects",
    "num_gaussians",
    "num_keyframes",
    "seconds_mapping",
    "steps_per_second",
    "training_share",
    "keyframes_per_second",
    "label_latency_ms_p50",
    "label_latency_ms_p95",
    "peak_rss_mb",
    "peak_gpu_mb",
    "id_stability",
    *CHANGE_KEYS,
)


def read_metrics(run_dir: Path, required: bool = False) -> dict:
    """metrics.json of a run's folder; empty where there is none, unless it is required."""
    path = Path(run_dir) / METRICS_FILE
    if not path.exists():
        if required:
            raise RunError(
                f"{path} does not exist: make it with `cgc map SEQ --out {run_dir}` and `cgc eval {run_dir} SEQ`"
            )
        return {}
    return read_json(path)


def read_json(path: Path) -> dict:
    """A JSON object from a file, or RunError that names the file."""
    try:
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}): delete it and run the command that writes it again"
        ) from error
    if not isinstance(value, dict):
        raise RunError(
            f"{path} holds a {type(value).__name__}, not an object: delete it and run the command that writes it again"
        )
    return value


def write_json(path: Path, value: object) -> None:
    """Write JSON whole: to a temporary name first, then renamed. NaN and infinities become null."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(finite(value), indent=1) + "\n")
    os.replace(temporary, path)


def finite(value: object) -> object:
    """`value` with None for NaN and infinities, and plain numbers for numpy's, so that any reader takes the JSON."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
