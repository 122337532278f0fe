"""A recording's calibration, checked before it is mapped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cgc_ros.calibration.findings import recalibration, warnings
from cgc_ros.calibration.recalibration import Recalibration
from cgc_ros.calibration.recording_check import QUICK, CalibrationCheck, Effort, PosedFrames, check_frames
from cgc_ros.progress import progress_bar
from cgc_ros.sequences import Sequence


def check_sequence(
    sequence: Sequence,
    effort: Effort | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CalibrationCheck:
    """What a recording's frames, held-out ones too, say about its calibration."""
    stamps = np.array([info.stamp_ns for info in sequence.frames])
    recording = PosedFrames(
        np.array([info.world_from_camera for info in sequence.frames]),
        (stamps - stamps[0]) * 1e-9 if sequence.has_stamps else None,
        sequence.__getitem__,
    )
    return check_frames(recording, effort, on_progress)


def look_at_calibration(sequence: Sequence, correct: bool) -> None:
    """Before mapping: warn of a calibration that does not fit; with `correct`, after a longer look, mend it."""
    with progress_bar("checking the calibration") as update:
        found = check_sequence(sequence, None if correct else QUICK, lambda done, total: update(done, total, ""))
    for text in warnings(found):
        sequence.warn_once(f"calibration {text}", text)
    change = recalibration(found)
    if correct and not change.is_none:
        sequence.recalibrate(change)
        sequence.warn_once("recalibrated", f"calibrated from the frames: {_described(change)}")
    elif correct:
        sequence.warn_once("recalibrated", "--calibrate: nothing is contradicted beyond doubt, mapped as given")


def _described(change: Recalibration) -> str:
    parts = {
        f"focal length times {change.focal_factor:.4f}": change.focal_factor != 1.0,
        f"principal point moved by {change.centre_shift[0]:+.4f}, {change.centre_shift[1]:+.4f} focal lengths": any(
            change.centre_shift
        ),
        f"poses taken {change.time_offset_s * 1e3:+.1f} ms from the images' stamps": change.time_offset_s != 0.0,
        f"depth times {change.depth_factor:.4g}": change.depth_factor != 1.0,
    }
    return ", ".join(text for text, is_changed in parts.items() if is_changed)
