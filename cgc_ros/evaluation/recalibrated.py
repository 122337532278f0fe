"""A recording by the calibration that a run mapped it with."""

from __future__ import annotations

from cgc_ros.calibration.recalibration import Recalibration
from cgc_ros.run_files import METRICS_FILE, RunError
from cgc_ros.sequences import Sequence


def recalibrate_as_mapped(sequence: Sequence, metrics: dict) -> None:
    """Correct `sequence` as `cgc map --calibrate` did, where `metrics` (of metrics.json) are of a map of it; else leave
    it as it is. RunError where they are garbled.
    """
    record = metrics.get("calibration")
    if not record or metrics.get("sequence") != sequence.name:
        return
    try:
        sequence.recalibrate(Recalibration.of(record))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{METRICS_FILE}: calibration {record} cannot be used ({error}): map the recording again"
        ) from None
