"""Where label images leave the node, and how long they took."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgc_ros.ros.conversions.images import encode_image
from cgc_ros.ros.intake import FOREIGN_CLOCK_NS
from cgc_ros.ros.publishers import Publishers
from cgc_ros.ros.view import LabelledView

_LATENCIES_KEPT = 300


class LatencyMeter:
    """Quantiles of the last 300 latencies. Thread-safe."""

    def __init__(self):
        self._seconds: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """One measurement."""
        with self._lock:
            self._seconds.append(seconds)

    def quantile_ms(self, quantile: float) -> float:
        """In milliseconds; NaN while nothing was measured."""
        with self._lock:
            return float(np.quantile(self._seconds, quantile)) * 1e3 if self._seconds else float("nan")


@dataclass(frozen=True)
class LabelOutput:
    """Publishes label images under the header of their input image. `clock_ns` is the node's."""

    topics: Publishers
    latency: LatencyMeter
    clock_ns: Callable[[], int]

    def is_wanted(self) -> bool:
        """Whether anyone listens; the overlay is made of label images."""
        return self.topics.listeners("labels", "overlay") > 0

    def publish(self, labelled: LabelledView) -> None:
        """Label image, confidence and depth to whoever listens, and note how long it took."""
        if self.topics.listeners("labels"):
            self.topics.publish("labels", encode_image(labelled.labels, "mono16", labelled.view.header))
        since_stamp_ns = self.clock_ns() - labelled.view.stamp_ns
        if not 0 <= since_stamp_ns < FOREIGN_CLOCK_NS:  # stamps of another clock: only the time since arrival is known
            since_stamp_ns = time.monotonic_ns() - labelled.view.arrived_ns
        self.latency.add(since_stamp_ns * 1e-9)
