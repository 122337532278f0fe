"""Detections of a 2D detector (`detections_2d`): joined to views by stamp, they vote for names in their own thread."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from vision_msgs.msg import Detection2DArray, LabelInfo

from cgc_ros.frame import Intrinsics
from cgc_ros.ignored_pixels import mark_ignored, touched_resized
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.ros.faults import FaultBoard
from cgc_ros.ros.roles import CurrentParameters
from cgc_ros.ros.view import View
from cgc_ros.ros.view_rendering import render_labels
from cgc_ros.segmentation.object_names import NamedBox, ViewWeights, clean_name, match_boxes
from cgc_ros.worker import Worker

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession

_VIEWS_KEPT = 900  # cameras and poses of the newest images: a detector of 30 Hz images may be half a minute late
_WAITING = 8  # arrays of detections that may wait for their view or their turn; newest win
_WAIT_S = 2.0  # for the view, whose pose may come later than the detections
_LABEL_WIDTH = 320  # pixels of the label image that boxes are compared with
_REST = 4  # times what a vote took: naming takes at most a fifth of one core
_PUBLISH_PERIOD_S = 1.0  # at most so often is a snapshot made for the sake of names alone
_POLL_S = 0.05


@dataclass(frozen=True)
class _Waiting:
    stamp_ns: int
    boxes: tuple[NamedBox, ...]  # in pixels of the input image
    arrived_s: float  # monotonic


@dataclass(frozen=True)
class _PastView:
    """What boxes are compared with: a view's camera at the label image's size, and where it was."""

    camera: Intrinsics
    scale: float  # of the input image's size
    map_from_camera: np.ndarray  # [4, 4]
    ignored_bits: np.ndarray | None  # of the pixels [h, w], packed

    @staticmethod
    def of(view: View) -> _PastView:
        scale = min(1.0, _LABEL_WIDTH / view.camera.width)
        camera = view.camera.scaled_to(round(view.camera.width * scale), max(1, round(view.camera.height * scale)))
        bits = None
        if view.ignore is not None:
            bits = np.packbits(touched_resized(view.ignore, camera.width, camera.height))
        return _PastView(camera, scale, view.map_from_camera, bits)

    def ignored(self) -> np.ndarray | None:
        """[h, w] bool."""
        if self.ignored_bits is None:
            return None
        shape = (self.camera.height, self.camera.width)
        return np.unpackbits(self.ignored_bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)


class NamingWorker:
    """`on_view`, `on_detections` and `on_classes` never block and may be called from any thread.

    `counts` holds what became of the arrays: used, dropped (too many at once), unmatched (no image of that stamp).
    """

    def __init__(self, session: MappingSession, parameters: CurrentParameters, faults: FaultBoard):
        self._session, self._parameters, self._faults = session, parameters, faults
        self.counts: Counter[str] = Counter()
        self._views: OrderedDict[int, _PastView] = OrderedDict()  # by stamp
        self._waiting: deque[_Waiting] = deque()
        self._classes: dict[str, str] = {}  # class_id -> name, for detectors that send numbers
        self._weights = ViewWeights(parameters.current.mapper.names)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._worker = Worker("naming", self._run, wake=self._wake.set)
        self._unpublished_since: float | None = None

    def on_view(self, view: View) -> None:
        """An input image whose pose is known."""
        past = _PastView.of(view)
        with self._lock:
            self._views[view.stamp_ns] = past
            while len(self._views) > _VIEWS_KEPT:
                self._views.popitem(last=False)

    def on_classes(self, message: LabelInfo) -> None:
        """The names behind the detector's class numbers."""
        self._classes = {str(each.class_id): each.class_name for each in message.class_map}

    def on_detections(self, message: Detection2DArray) -> None:
        """Boxes in pixels of the input image that has this header's stamp."""
        least, names = self._parameters.current.min_detection_score, self._classes
        boxes = [box for each in message.detections for box in _boxes(each, names) if box.score >= least]
        if not boxes:
            return
        with self._lock:
            if len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self.counts["dropped"] += 1
            self._waiting.append(_Waiting(stamp_of(message.header.stamp), tuple(boxes), time.monotonic()))
        self._wake.set()

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the thread; False where it did not end in time."""
        return self._worker.stop(timeout)

    def clear(self) -> None:
        """Forget views and detections: they belong to another map or another time."""
        with self._lock:
            self._views.clear()
            self._waiting.clear()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            if not self._waiting and self._unpublished_since is None:
                self._wake.wait()
            self._wake.clear()
            start = time.monotonic()
            try:
                self._vote_next()
                self._publish()
            except Exception as error:  # named; the next detections get their chance
                self._faults.report("naming_failed", f"{type(error).__name__}: {error}")
            stopping.wait(max(_POLL_S, _REST * (time.monotonic() - start)))

    def _vote_next(self) -> None:
        """The newest detections whose view is known vote; those that have waited too long are dropped by name."""
        with self._lock:
            now = time.monotonic()
            while self._waiting and now - self._waiting[0].arrived_s > _WAIT_S:
                late = self._waiting.popleft()
                self.counts["unmatched"] += 1
                self._faults.report(
                    "detections_unmatched", f"no image with a pose has the stamp {late.stamp_ns * 1e-9:.3f} s"
                )
            found = next(
                ((each, view) for each in reversed(self._waiting) if (view := self._view_at(each.stamp_ns))), None
            )
            if found is None:
                return
            self._waiting.remove(found[0])
        self._vote(*found)

    def _view_at(self, stamp_ns: int) -> _PastView | None:
        """The view of that stamp, else the nearest within sync_tolerance; the lock is held."""
        if stamp_ns in self._views or not self._views:
            return self._views.get(stamp_ns)
        nearest = min(self._views, key=lambda known: abs(known - stamp_ns))
        is_near = abs(nearest - stamp_ns) <= self._parameters.current.sync_tolerance * 1e9
        return self._views[nearest] if is_near else None

    def _vote(self, detections: _Waiting, view: _PastView) -> None:
        names, snapshot = self._session.mapper.names, self._session.snapshot
        if snapshot is None:
            return
        labels = mark_ignored(render_labels(snapshot, view.camera, view.map_from_camera), view.ignored())
        votes = match_boxes(labels, [_scaled(box, view.scale) for box in detections.boxes], names.config)
        names.add_view(votes, self._weights.weight(view.map_from_camera, snapshot.scene_depth))
        self.counts["used"] += 1
        self._faults.clear("detections_unmatched", "naming_failed")
        if votes and self._unpublished_since is None:
            self._unpublished_since = time.monotonic()

    def _publish(self) -> None:
        """See to it that names reach snapshots where mapping rests and makes none by itself."""
        since = self._unpublished_since
        if since is None or time.monotonic() - since < _PUBLISH_PERIOD_S:
            return
        self._unpublished_since = None
        snapshot = self._session.snapshot
        if snapshot is not None and snapshot.names != self._session.mapper.names.resolved():
            self._session.change(lambda mapper: None)


def _boxes(detection, names: dict[str, str]) -> list[NamedBox]:
    """One box per hypothesis; a turned box counts as the upright one around it."""
    center, theta = detection.bbox.center.position, detection.bbox.center.theta
    across, along = abs(math.cos(theta)), abs(math.sin(theta))
    half_x = (across * detection.bbox.size_x + along * detection.bbox.size_y) / 2
    half_y = (along * detection.bbox.size_x + across * detection.bbox.size_y) / 2
    edges = (center.x - half_x, center.y - half_y, center.x + half_x, center.y + half_y)
    found = []
    for result in detection.results:
        class_id, score = result.hypothesis.class_id, float(result.hypothesis.score)
        name = clean_name(names.get(class_id, class_id))
        if name and all(map(math.isfinite, (score, *edges))):
            found.append(NamedBox(*edges, name, min(max(score, 0.0), 1.0)))
    return found


def _scaled(box: NamedBox, scale: float) -> NamedBox:
    return replace(box, left=box.left * scale, top=box.top * scale, right=box.right * scale, bottom=box.bottom * scale)
