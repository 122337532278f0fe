"""What a mapping run leaves in its folder: the map, its objects, figures, history and previews."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.cameras import frame_camera
from cgc_ros.evaluation.figures import write_json
from cgc_ros.evaluation.machine import describe_machine
from cgc_ros.evaluation.mapping_run import RunOutcome, held_in
from cgc_ros.evaluation.view_images import clear_pngs, side_by_side, write_png
from cgc_ros.mapping import MapObject, MappingSession, MapSnapshot, ObjectEvent, SessionStatus
from cgc_ros.palette import label_picture, overlay_picture
from cgc_ros.run_files import (
    EVAL_FOLDER,
    EVENTS_FILE,
    HISTORY_FILE,
    MAP_FILE,
    METRICS_FILE,
    OBJECTS_FILE,
    PREVIEWS_FOLDER,
    RunError,
)
from cgc_ros.sequences import Sequence, SequenceError

NUM_PREVIEWS = 4
SAVE_TIMEOUT = 600.0  # seconds


def write_run(out_dir: Path, session: MappingSession, sequence: Sequence, outcome: RunOutcome, run: dict) -> dict:
    """Save the map and everything that describes the run; the metrics as written.

    Writes map.cgc, objects.json, events.json, history.json, metrics.json and previews/. `run` describes how the session
    was set up. The session is stopped on the way. An evaluation of an earlier map in the same folder is removed.
    """
    shutil.rmtree(out_dir / EVAL_FOLDER, ignore_errors=True)
    session.pause(True)
    keyframes_taken = session.ask(lambda mapper: mapper.keyframes.next_id, SAVE_TIMEOUT)
    work = session.ask(lambda mapper: (mapper.work.training_share, dict(mapper.work.busy)), SAVE_TIMEOUT)
    session.change(lambda mapper: mapper.refresh_objects(), SAVE_TIMEOUT)
    session.ask(lambda mapper: mapper.save(out_dir / MAP_FILE), SAVE_TIMEOUT)
    status = session.status()
    session.stop()
    snapshot = session.snapshot
    if snapshot is None:
        raise RunError("the session published no map: see its log")

    write_json(
        out_dir / OBJECTS_FILE,
        {"objects": [object_record(each, sequence.origin) for each in (*snapshot.objects, *snapshot.absent)]},
    )
    write_json(out_dir / EVENTS_FILE, event_records(snapshot.history.events, sequence))
    write_json(out_dir / HISTORY_FILE, {"records": outcome.recorder.records})
    metrics = run_metrics(outcome, status, snapshot, keyframes_taken)
    metrics |= {
        "training_share": work[0],
        "busy": {kind: round(seconds, 3) for kind, seconds in work[1].items()},
        "sequence": sequence.name,
        "origin": sequence.origin.tolist(),
        "calibration": None if sequence.calibration.is_none else sequence.calibration.to_json(),
        "run": run | {"interrupted": outcome.interrupted},
        "machine": describe_machine(),
    }
    write_json(out_dir / METRICS_FILE, metrics)
    write_previews(out_dir / PREVIEWS_FOLDER, snapshot, sequence)
    return metrics


def run_metrics(outcome: RunOutcome, status: SessionStatus, snapshot: MapSnapshot, keyframes_taken: int) -> dict:
    """The figures of metrics.json that mapping itself tells."""
    seconds = max(outcome.seconds, 1e-9)
    return {
        "seconds_mapping": round(outcome.seconds, 3),
        "steps": status.steps,
        "steps_per_second": status.steps / seconds,
        "keyframes_per_second": keyframes_taken / max(outcome.stream_seconds, 1e-9),
        "num_objects": sum(not candidate.background for candidate in snapshot.objects),
        "num_gaussians": int(snapshot.num_gaussians),
        "num_keyframes": status.keyframes,
        "frames": {
            "submitted": outcome.frames_submitted,
            "used": status.frames_used,
            "dropped": status.dropped,
            "unreadable": len(outcome.unreadable),
            "not_submitted": outcome.not_submitted,
        },
        "faults": status.faults,
        **outcome.recorder.figures(),
    }


def object_record(candidate: MapObject, origin: np.ndarray | None = None) -> dict:
    """One MapObject as JSON, its cloud left out (`cgc export --objects` writes clouds). The map's `origin` [3] is added
    to its place.
    """
    box = candidate.box
    return {
        "id": candidate.id,
        "label": candidate.label,
        "label_confidence": candidate.label_confidence,
        "confidence": candidate.confidence,
        "background": candidate.background,
        "box": {
            "center": box.center if origin is None else box.center + origin,
            "rotation": box.rotation,
            "size": box.size,
        },
        "num_points": len(candidate.points),
        "num_views": candidate.num_views,
        "first_seen_ns": candidate.first_seen_ns,
        "last_seen_ns": candidate.last_seen_ns,
        "state": candidate.state,
        "existence": candidate.existence,
        "last_confirmed": candidate.last_confirmed_ns / 1e9,
    }


def event_records(events: Iterable[ObjectEvent], sequence: Sequence) -> list[dict]:
    """What the map noticed, as events.json has it: in the recording's own world, frames by their index there."""
    index_of = {info.name: index for index, info in enumerate(sequence.frames)}
    shift = np.eye(4)
    shift[:3, 3] = sequence.origin
    return [
        {
            "stamp": each.stamp_ns / 1e9,
            "frame": index_of.get(each.frame),
            "id": each.id,
            "kind": each.kind,
            "position": each.position + sequence.origin,
            "transform": None if each.transform is None else shift @ each.transform @ np.linalg.inv(shift),
        }
        for each in events
    ]


def write_previews(folder: Path, snapshot: MapSnapshot, sequence: Sequence) -> list[Path]:
    """A few held-in views, evenly spaced: input, render, labels and overlay in one PNG each."""
    clear_pngs(folder)
    indices = held_in(sequence)
    paths = []
    for index in sorted({indices[round(place)] for place in np.linspace(0, len(indices) - 1, NUM_PREVIEWS)}):
        try:
            frame = sequence[index]
        except SequenceError:
            continue  # named and counted when it was to be mapped
        camera = frame_camera(frame, snapshot)
        labels = snapshot.segment(camera)
        render = snapshot.render(camera, frame.stamp_ns).color
        picture = side_by_side([frame.image, render, label_picture(labels), overlay_picture(frame.image, labels)])
        paths.append(folder / f"{index:05d}.png")
        write_png(paths[-1], picture)
    return paths
