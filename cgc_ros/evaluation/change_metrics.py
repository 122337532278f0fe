"""Metrics of changes: the events that a map noticed against those that a recording's truth lists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cgc_ros.evaluation.figures import CHANGE_KEYS
from cgc_ros.run_files import EVENTS_FILE, RunError
from cgc_ros.sequences import Sequence, SequenceError, TrueEvent

#: Metres beyond an instance's own extent within which an event's position is its.
REACH = 0.05
#: Metres within which an event's position is an instance's of which no view with depth shows the extent.
PLAIN_REACH = 0.15
_VIEWS = 3  # that an instance's extent is taken from
_LOOKED_AT = 40  # frames, before or after an event, that are searched for them
_SHOWN = 0.5  # of an instance's points that a frame must have in view to show its place


@dataclass(frozen=True)
class NoticedEvent:
    """An entry of a run's events.json, about the sequence's origin."""

    frame: int
    id: int
    kind: str
    position: np.ndarray  # [3]
    transform: np.ndarray | None  # [4, 4]

    @staticmethod
    def of(entry: dict, origin: np.ndarray) -> NoticedEvent:
        """KeyError, TypeError or ValueError where it is garbled."""
        transform = entry["transform"]
        shift = np.eye(4)
        shift[:3, 3] = -np.asarray(origin)
        moved = None if transform is None else shift @ np.array(transform, dtype=float) @ np.linalg.inv(shift)
        position = np.array(entry["position"], dtype=float) - origin
        return NoticedEvent(int(entry["frame"] or 0), int(entry["id"]), str(entry["kind"]), position, moved)


def noticed_events(run_dir: Path, origin: np.ndarray) -> list[NoticedEvent]:
    """The events of a run's folder about an origin [3]; none where it has no such file. Raises RunError."""
    path = run_dir / EVENTS_FILE
    if not path.exists():
        return []
    try:
        return [NoticedEvent.of(entry, origin) for entry in json.loads(path.read_text())]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error!r}): run `cgc map` again, which writes it") from error


@dataclass(frozen=True)
class EventScore:
    """One true event: what was noticed of it."""

    truth: TrueEvent
    delay_frames: int | None  # None: not noticed
    position_error_m: float | None = None
    rotation_error_deg: float | None = None


def score_events(noticed: list[NoticedEvent], sequence: Sequence) -> tuple[dict[str, float | None], list[EventScore]]:
    """The figures of CHANGE_KEYS, null where there is no truth, and how each true event fared.

    An event is the true one's where its kind is, its position lies within the instance's extent there (or REACH beside
    it), and it comes after the change and before the next one of that instance. `moved` may be noticed as that, or as
    removed at the old place and returned at the new one under one id. Every noticed event counts once.
    """
    truth = None if sequence.truth is None else sequence.truth.events
    if truth is None:
        return dict.fromkeys(CHANGE_KEYS), []
    clouds = _Extents(sequence)
    free = list(range(len(noticed)))
    scores = []
    for index, event in enumerate(truth):
        until = next(
            (each.frame for each in truth[index + 1 :] if each.id == event.id and each.frame > event.frame), None
        )
        timely = [k for k in free if noticed[k].frame >= event.frame and (until is None or noticed[k].frame < until)]
        used = _noticed_as(event, noticed, timely, clouds)
        free = [k for k in free if k not in used]
        scores.append(_scored(event, [noticed[k] for k in used], sequence, clouds))
    found = [score for score in scores if score.delay_frames is not None]
    moved = [score for score in scores if score.truth.kind in ("moved", "returned")]
    counted = [each for k, each in enumerate(noticed) if each.kind in ("appeared", "removed", "moved", "returned")]
    right = len([k for k in range(len(noticed)) if k not in free])
    return {
        "event_precision": right / len(counted) if counted else (1.0 if not truth else None),
        "event_recall": len(found) / len(truth) if truth else None,
        "event_delay_frames": _median([score.delay_frames for score in found]),
        "moved_ids_kept": sum(score.delay_frames is not None for score in moved) / len(moved) if moved else None,
        "moved_position_error_m": _median([score.position_error_m for score in moved]),
        "moved_rotation_error_deg": _median([score.rotation_error_deg for score in moved]),
    }, scores


def _median(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _noticed_as(event: TrueEvent, noticed: list[NoticedEvent], timely: list[int], clouds: _Extents) -> list[int]:
    """Which of the noticed events are a true one, as indices; none where it was missed."""

    def there(kinds: tuple[str, ...], place: str) -> list[int]:
        return [k for k in timely if noticed[k].kind in kinds and clouds.has(event, place, noticed[k].position)]

    if event.kind == "removed":
        return there(("removed",), "source")[:1]
    if event.kind == "appeared":
        return there(("appeared",), "target")[:1]
    arrived = there(("moved", "returned"), "target")
    if event.kind == "returned":
        return arrived[:1]
    left = {noticed[k].id: k for k in reversed(there(("removed",), "source"))}
    for k in arrived:
        if noticed[k].id in left:
            return [left[noticed[k].id], k]
        if noticed[k].kind == "moved" and _fits(event, noticed[k], clouds):
            return [k]
    return []


def _fits(event: TrueEvent, noticed: NoticedEvent, clouds: _Extents) -> bool:
    """Whether a move that was noticed began where the instance stood."""
    if noticed.transform is None:
        return False
    before = np.linalg.inv(noticed.transform) @ np.append(noticed.position, 1.0)
    return clouds.has(event, "source", before[:3])


def _scored(event: TrueEvent, used: list[NoticedEvent], sequence: Sequence, clouds: _Extents) -> EventScore:
    if not used:
        return EventScore(event, None)
    last = used[-1]
    points = clouds.points(event, "source" if event.kind == "removed" else "target")
    shown = [
        index
        for index in range(event.frame, last.frame + 1)
        if not sequence.is_held_out(index) and _shows(sequence, index, points)
    ]
    if last.transform is None or event.source is None or event.target is None:
        return EventScore(event, len(shown))
    true = event.target @ np.linalg.inv(event.source)
    old = clouds.points(event, "source")
    middle = np.append((old.min(axis=0) + old.max(axis=0)) / 2, 1.0)
    apart = (last.transform @ middle - true @ middle)[:3]
    cosine = (np.trace(last.transform[:3, :3].T @ true[:3, :3]) - 1) / 2
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return EventScore(event, len(shown), float(np.linalg.norm(apart)), angle)


def _shows(sequence: Sequence, index: int, points: np.ndarray) -> bool:
    info = sequence.frames[index]
    k = info.intrinsics
    columns, rows, depth = k.project(points, info.world_from_camera)
    inside = (depth > 0) & (columns >= 0) & (columns < k.width) & (rows >= 0) & (rows < k.height)
    return bool(inside.mean() >= _SHOWN)


class _Extents:
    """Where instances stood before and after events, from views with depth and truth."""

    def __init__(self, sequence: Sequence):
        self._sequence = sequence
        self._points: dict[tuple[int, int, str], np.ndarray] = {}

    def points(self, event: TrueEvent, place: str) -> np.ndarray:
        """Points of the instance at its `source` or `target`, [P, 3]; the place itself where no view tells."""
        key = (event.id, event.frame, place)
        if key not in self._points:
            self._points[key] = self._seen(event, place)
        return self._points[key]

    def has(self, event: TrueEvent, place: str, position: np.ndarray) -> bool:
        """Whether a position is the instance's."""
        points = self.points(event, place)
        reach = PLAIN_REACH if len(points) == 1 else REACH
        return bool(((position >= points.min(axis=0) - reach) & (position <= points.max(axis=0) + reach)).all())

    def _seen(self, event: TrueEvent, place: str) -> np.ndarray:
        if place == "target":
            frames = range(event.frame, min(event.frame + _LOOKED_AT, len(self._sequence)))
        else:
            frames = range(event.frame - 1, max(event.frame - 1 - _LOOKED_AT, -1), -1)
        found: list[np.ndarray] = []
        for index in frames:
            points = self._in_frame(index, event.id)
            if points is not None:
                found.append(points)
            if len(found) == _VIEWS:
                break
        if found:
            joined = np.concatenate(found)
            low, high = np.percentile(joined, [2, 98], axis=0)
            return joined[((joined >= low) & (joined <= high)).all(axis=1)]
        pose = event.target if place == "target" else event.source
        return np.zeros((1, 3)) if pose is None else pose[None, :3, 3]

    def _in_frame(self, index: int, instance: int) -> np.ndarray | None:
        sequence = self._sequence
        try:
            frame = sequence[index]
            ids = None if sequence.truth is None else sequence.truth.instances(index)
        except SequenceError:
            return None
        if frame.depth is None or ids is None:
            return None
        rows, columns = np.nonzero((ids == instance) & (frame.depth > 0))
        if len(rows) < 20:
            return None
        depth = frame.depth[rows, columns].astype(float)
        return frame.intrinsics.lift(columns, rows, depth, frame.world_from_camera)
