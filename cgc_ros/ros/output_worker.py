"""The thread behind the slower topics: overlay, renders, objects. It never delays a label image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from std_msgs.msg import Header

from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.conversions.objects import (
    ObjectsIn,
    detections,
    label_info,
    markers,
    object_array,
    object_cloud,
    shown_name,
    time_message,
)
from cgc_ros.ros.conversions.palette import overlay
from cgc_ros.ros.intake import View
from cgc_ros.ros.label_worker import LabelledView, LabelWorker
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.publishers import Publishers
from cgc_ros.ros.view_rendering import render_appearance

if TYPE_CHECKING:
    from cgc_ros.mapping import MapSnapshot

_IDLE_S = 0.05  # how often it looks whether something is due
_MAP_TOPICS = ("objects", "detections", "cloud", "markers")


class OutputWorker:
    """Publishes what is due, to those who listen.

    `snapshot()` gives the newest there is (or None), `parameters()` the current ones.
    """

    def __init__(
        self,
        publishers: Publishers,
        labels: LabelWorker,
        snapshot: Callable[[], MapSnapshot | None],
        parameters: Callable[[], NodeParameters],
        on_error: Callable[[Exception], None],
    ):
        self._publishers, self._labels, self._snapshot = publishers, labels, snapshot
        self._parameters, self._on_error = parameters, on_error
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: dict[str, float] = {}
        self._overlaid: LabelledView | None = None
        self._rendered: View | None = None
        self._map_state: tuple | None = None  # version published, to how many listeners
        self._names: tuple | None = None

    def start(self) -> None:
        """Start the thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the thread; False where it did not end in time."""
        self._stopping.set()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(_IDLE_S):
            for task in (self._publish_overlay, self._publish_render, self._publish_objects):
                try:
                    task()
                except Exception as error:  # reported by name; the other topics go on
                    self._on_error(error)

    def _publish_overlay(self) -> None:
        labelled = self._labels.newest
        if labelled is None or labelled is self._overlaid or not self._publishers.listeners("overlay"):
            return
        if not self._is_due("overlay", self._parameters().overlay_rate):
            return
        self._overlaid = labelled
        picture = overlay(labelled.view.image, labelled.labels)
        self._publishers.publish("overlay", encode_image(picture, "rgb8", labelled.view.header))

    def _publish_render(self) -> None:
        view, snapshot = self._labels.newest_view, self._snapshot()
        if view is None or snapshot is None or view is self._rendered or not self._publishers.listeners("render", "render_depth"):
            return
        if not self._is_due("render", self._parameters().render_rate):
            return
        self._rendered = view
        color, depth = render_appearance(snapshot, view.camera, view.map_from_camera)
        if self._publishers.listeners("render"):
            self._publishers.publish("render", encode_image(color, "rgb8", view.header))
        if self._publishers.listeners("render_depth"):
            self._publishers.publish("render_depth", encode_image(depth, "32FC1", view.header))

    def _publish_objects(self) -> None:
        snapshot, parameters = self._snapshot(), self._parameters()
        listeners = {key: self._publishers.listeners(key) for key in (*_MAP_TOPICS, "labels", "label_info", "overlay")}
        state = (snapshot and snapshot.version, tuple(listeners.values()))
        if snapshot is None or not any(listeners.values()) or state == self._map_state or not self._is_due("objects", parameters.objects_rate):
            return
        self._map_state = state
        objects = snapshot.objects
        header = Header(frame_id=parameters.map_frame, stamp=time_message(snapshot.stamp_ns))
        frame = ObjectsIn(header)
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

    def _is_due(self, key: str, rate: float) -> bool:
        now = time.monotonic()
        if rate > 0 and now - self._last.get(key, -1e9) < 1.0 / rate:
            return False
        self._last[key] = now
        return True
