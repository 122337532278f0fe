"""The thread behind the slower topics, overlay, renders, objects, and behind queries. It never delays a label image."""

from __future__ import annotations

import threading
import time

from std_msgs.msg import Header

from cgc_ros.mapping.failures import Failure
from cgc_ros.palette import overlay_picture
from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.objects import (
    detections,
    label_info,
    markers,
    object_array,
    object_cloud,
    shown_name,
)
from cgc_ros.ros.conversions.splats import splat_message
from cgc_ros.ros.conversions.stamps import time_message
from cgc_ros.ros.label_worker import LabelWorker
from cgc_ros.ros.object_cache import ObjectCache, past_stamp
from cgc_ros.ros.publishers import Publishers
from cgc_ros.ros.roles import CurrentParameters, FailureSink, SnapshotSource
from cgc_ros.ros.view import LabelledView, View
from cgc_ros.ros.view_rendering import render_appearance
from cgc_ros.worker import Worker

_IDLE_S = 0.05  # how often it looks whether something is due
_COST_FACTOR = 4  # a topic rests for this many times what it took
_QUERY_PERIOD_S, _QUERY_COST_FACTOR = 2.0, 10  # the same for objects that are made in case somebody asks
_OBJECT_TOPICS = ("objects", "detections", "cloud", "markers", "labels", "label_info", "overlay")


class OutputWorker:
    """Publishes what is due, to those who listen; a topic rests four times as long as it took, whatever its rate.

    `niceness`: of the thread (`lower_thread_priority`).
    """

    def __init__(
        self,
        publishers: Publishers,
        labels: LabelWorker,
        maps: SnapshotSource,
        objects: ObjectCache,
        parameters: CurrentParameters,
        failures: FailureSink,
        niceness: int = 0,
    ):
        self._publishers, self._labels, self._maps, self._objects = publishers, labels, maps, objects
        self._parameters, self._failures = parameters, failures
        self._worker = Worker("outputs", self._run, niceness)
        self._due: dict[str, float] = {}  # monotonic time from which on a topic may be published again
        self._overlaid: LabelledView | None = None
        self._rendered: View | None = None
        self._published: tuple | None = None  # snapshot whose objects were published, to how many listeners
        self._names: tuple | None = None
        self._splats: tuple | None = None  # snapshot whose Gaussians were published, to how many listeners

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the thread; False where it did not end in time."""
        return self._worker.stop(timeout)

    def _run(self, stopping: threading.Event) -> None:
        jobs = {
            "overlay": self._publish_overlay,
            "render": self._publish_render,
            "objects": self._publish_objects,
            "splats": self._publish_splats,
            "queries": self._prepare_queries,
        }
        while not stopping.wait(_IDLE_S):
            for key, work in jobs.items():
                if stopping.is_set():
                    return
                start, failure = time.monotonic(), None
                if start < self._due.get(key, 0.0):
                    continue
                try:
                    if work():
                        self._due[key] = start + self._rest_s(key, time.monotonic() - start)
                except Exception as error:  # reported by name; the other topics go on
                    self._due[key] = start + 1.0
                    failure = Failure.of(error)
                if failure is not None:
                    self._failures.failed(failure)

    def _rest_s(self, key: str, cost_s: float) -> float:
        if key == "queries":
            return max(_QUERY_PERIOD_S, _QUERY_COST_FACTOR * cost_s)
        rate = getattr(self._parameters.current, f"{key}_rate")
        return max(1.0 / rate if rate > 0 else 0.0, _COST_FACTOR * cost_s)

    def _publish_overlay(self) -> bool:
        labelled = self._labels.newest
        if labelled is None or labelled is self._overlaid or not self._publishers.listeners("overlay"):
            return False
        self._overlaid = labelled
        picture = overlay_picture(labelled.view.image, labelled.labels)
        self._publishers.publish("overlay", encode_image(picture, "rgb8", labelled.view.header))
        return True

    def _publish_splats(self) -> bool:
        parameters, snapshot = self._parameters.current, self._maps.snapshot
        state = (snapshot, self._publishers.listeners("splats"))
        if parameters.splats_rate <= 0 or snapshot is None or not state[1] or state == self._splats:
            return False
        self._splats = state
        stamp = time_message(past_stamp(snapshot, self._objects.clock_ns()))
        header = Header(frame_id=parameters.map_frame, stamp=stamp)
        self._publishers.publish("splats", splat_message(snapshot.model, header))
        return True

    def _publish_render(self) -> bool:
        view, snapshot = self._labels.newest_view, self._maps.snapshot
        if view is None or snapshot is None or view is self._rendered:
            return False
        if not self._publishers.listeners("render", "render_depth"):
            return False
        self._rendered = view
        width = self._parameters.current.max_image_width
        color, depth = render_appearance(snapshot, view.camera, view.map_from_camera, view.stamp_ns, width)
        if self._publishers.listeners("render"):
            self._publishers.publish("render", encode_image(color, "rgb8", view.header))
        if self._publishers.listeners("render_depth"):
            self._publishers.publish("render_depth", encode_image(depth, "32FC1", view.header))
        return True

    def _prepare_queries(self) -> bool:
        """Have the objects ready before somebody asks: no reply waits while they are made."""
        made = self._objects.get(_QUERY_PERIOD_S)
        if made is not None:
            made.plain_messages(self._parameters.current.map_frame)
        return made is not None

    def _publish_objects(self) -> bool:
        listeners = {key: self._publishers.listeners(key) for key in _OBJECT_TOPICS}
        state = (self._maps.snapshot, tuple(listeners.values()))
        if state[0] is None or not any(listeners.values()) or state == self._published:
            return False
        made, parameters = self._objects.get(max_age_s=0.0), self._parameters.current
        if made is None:  # the map was reset meanwhile
            return False
        self._published = (made.snapshot, state[1])
        objects, frame = made.objects, made.in_map(parameters.map_frame)
        header = frame.header
        names = tuple((each.id, shown_name(each)) for each in objects)
        if names != self._names:
            self._names = names
            self._publishers.publish("label_info", label_info(objects, header))
        if listeners["objects"]:
            self._publishers.publish("objects", object_array(objects, frame, parameters.cloud_points))
        if listeners["detections"]:
            self._publishers.publish("detections", detections([each for each in objects if not each.background], frame))
        if listeners["cloud"]:
            self._publishers.publish("cloud", object_cloud(objects, frame, parameters.cloud_points))
        if listeners["markers"]:
            self._publishers.publish("markers", markers(objects, frame))
        return True
