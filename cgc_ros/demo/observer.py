"""The demo's user: a node that listens to what the mapping node publishes and asks it questions."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from cgc_ros.frame import UNLABELLED
from cgc_ros.messages.geometry import matrix_from_transform
from cgc_ros.messages.images import decode_image
from cgc_ros.messages.stamps import stamp_of
from cgc_ros.msg import MapStatus, ObjectArray
from cgc_ros.srv import QueryObjects

_IMAGES_KEPT = 64  # input images that wait for their overlay and render


@dataclass
class Heard:
    """What came in so far. Times: seconds since the first input image; latencies: seconds from stamp to arrival."""

    images: int = 0
    labels: int = 0
    latencies: list[float] = field(default_factory=list)
    label_times: list[float] = field(default_factory=list)
    first_labelled: float | None = None  # a label image with an object in it
    first_objects: float | None = None  # ~/objects with a thing in it
    label_image: np.ndarray | None = None  # [H, W] uint16
    overlay: tuple[int, np.ndarray] | None = None  # stamp, picture
    render: tuple[int, np.ndarray] | None = None
    objects: ObjectArray | None = None
    status: MapStatus = field(default_factory=MapStatus)  # all zeros before the first came
    has_status: bool = False
    camera_position: np.ndarray | None = None  # [3] map frame


class Observer:
    """Listens in a thread of its own; to pictures, too, where `camera_topic` is given. Context manager."""

    def __init__(self, camera_topic: str = "", node_name: str = "cgc"):
        rclpy.init()
        self.heard = Heard()
        self._node = Node("demo_user")
        self._node_name = node_name
        self._start: float | None = None
        self._inputs: OrderedDict[int, CompressedImage] = OrderedDict()
        reliable, state = QoSProfile(depth=5), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        topics = [
            (Image, f"{node_name}/segmentation/image", self._on_labels, reliable),
            (ObjectArray, f"{node_name}/objects", self._on_objects, state),
            (MapStatus, f"{node_name}/status", self._on_status, reliable),
        ]
        if camera_topic:
            topics += [
                (CompressedImage, camera_topic, self._on_input, qos_profile_sensor_data),
                (TFMessage, "/tf", self._on_tf, QoSProfile(depth=50)),
                (Image, f"{node_name}/segmentation/overlay", self._on_overlay, reliable),
                (Image, f"{node_name}/render/image", self._on_render, reliable),
            ]
        for kind, topic, callback, qos in topics:
            self._node.create_subscription(kind, topic, callback, qos)
        self._query = self._node.create_client(QueryObjects, f"{node_name}/query_objects")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="observer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_) -> None:
        rclpy.try_shutdown()
        self._thread.join(2.0)

    def query(self, timeout_s: float = 10.0, **fields) -> tuple[QueryObjects.Response, float]:
        """~/query_objects: the response and how many seconds it took. Raises TimeoutError."""
        return _ask(self._query, QueryObjects.Request(**fields), timeout_s)

    def call(self, kind: Any, name: str, /, timeout_s: float = 30.0, **fields):
        """Another of the node's services: its response. Raises TimeoutError."""
        client = self._node.create_client(kind, f"{self._node_name}/{name}")
        return _ask(client, kind.Request(**fields), timeout_s)[0]

    def same_view(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Input, render and overlay [H, W, 3] uint8 of the newest view; None before all three came.

        Each is the newest of its kind: they show one view once the camera stands still.
        """
        heard = self.heard
        newest = next(reversed(self._inputs.values()), None)
        if newest is None or heard.overlay is None or heard.render is None:
            return None
        picture = decode_image(self._inputs.get(heard.overlay[0], newest))
        return picture, heard.render[1], heard.overlay[1]

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except Exception:  # rclpy raises one thing or another where __exit__ ended the context
            if rclpy.ok():
                raise

    def _seconds(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start

    def _on_input(self, message: CompressedImage) -> None:
        if self._start is None:
            self._start = time.monotonic()
        self.heard.images += 1
        self._inputs[stamp_of(message.header.stamp)] = message
        while len(self._inputs) > _IMAGES_KEPT:
            self._inputs.popitem(last=False)

    def _on_tf(self, message: TFMessage) -> None:
        self.heard.camera_position = matrix_from_transform(message.transforms[-1].transform)[:3, 3]

    def _on_labels(self, message: Image) -> None:
        heard = self.heard
        now_ns = self._node.get_clock().now().nanoseconds
        heard.labels += 1
        heard.latencies.append((now_ns - stamp_of(message.header.stamp)) * 1e-9)
        heard.label_times.append(self._seconds())
        heard.label_image = np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)
        if heard.first_labelled is None and (heard.label_image != UNLABELLED).any():
            heard.first_labelled = self._seconds()

    def _on_overlay(self, message: Image) -> None:
        self.heard.overlay = (stamp_of(message.header.stamp), decode_image(message))

    def _on_render(self, message: Image) -> None:
        self.heard.render = (stamp_of(message.header.stamp), decode_image(message))

    def _on_objects(self, message: ObjectArray) -> None:
        self.heard.objects = message
        if self.heard.first_objects is None and any(not each.background for each in message.objects):
            self.heard.first_objects = self._seconds()

    def _on_status(self, message: MapStatus) -> None:
        self.heard.status, self.heard.has_status = message, True


def _ask(client: Client, request, timeout_s: float) -> tuple:
    """The response and how many seconds it took, from request to reply."""
    if not client.wait_for_service(timeout_s):
        raise TimeoutError(f"the service {client.srv_name} did not appear within {timeout_s:.0f} s")
    answered = threading.Event()
    started = time.perf_counter()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    if not answered.wait(timeout_s):
        raise TimeoutError(f"{client.srv_name} did not answer within {timeout_s:.0f} s")
    return future.result(), time.perf_counter() - started
