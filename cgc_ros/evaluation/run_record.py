"""A mapping run in numbers: a record every second, latencies, and how stable the objects' ids were."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cgc_ros.evaluation.cameras import frame_camera
from cgc_ros.evaluation.machine import peak_gpu_mb
from cgc_ros.evaluation.object_metrics import PublishedIds, StabilityCount, compare_publications, id_stability
from cgc_ros.frame import Frame
from cgc_ros.memory_use import peak_resident_mb, resident_mb

#: Seconds between two records.
RECORD_PERIOD = 1.0
#: Seconds between two publications of objects that are compared, however often the session makes a new one.
PUBLICATION_PERIOD = 2.0
#: Share of the run's time that timing label images, and comparing publications, may take each.
SAMPLING_SHARE = 0.01


class Session(Protocol):
    """What of a MappingSession a recorder reads."""

    snapshot: object | None

    def status(self):
        """A SessionStatus."""
        ...


@dataclass
class RunRecorder:
    """Samples a session at work. `sample` may be called as often as one likes; it acts once per RECORD_PERIOD."""

    records: list[dict] = field(default_factory=list)
    label_latencies_ms: list[float] = field(default_factory=list)
    _stability: list[tuple[float, StabilityCount]] = field(default_factory=list)  # share of the stream submitted, count
    _compared_version: int = -1
    _compared: PublishedIds | None = None
    _due: float = 0.0
    _label_due: float = 0.0
    _publication_due: float = 0.0

    def sample(
        self, seconds: float, session: Session, newest: Frame | None, stream_share: float, force: bool = False
    ) -> None:
        """Record the session's state.

        seconds: since the first frame. newest: the last frame submitted, whose view is segmented to time a label image
        while mapping goes on. stream_share: 0..1, of the frames submitted so far.
        """
        if not force and seconds < self._due:
            return
        self._due = seconds + RECORD_PERIOD
        status, snapshot = session.status(), session.snapshot
        if snapshot is not None and newest is not None and (force or seconds >= self._label_due):
            took = self._time_label_image(snapshot, newest)
            self._label_due = seconds + took / SAMPLING_SHARE
        if snapshot is not None and (force or seconds >= self._publication_due):
            took = self._compare_publication(snapshot, stream_share)
            self._publication_due = seconds + max(PUBLICATION_PERIOD, took / SAMPLING_SHARE)
        things = 0 if self._compared is None else len(np.unique(self._compared.ids))
        self.records.append(
            {
                "t": round(seconds, 3),
                "frames_used": status.frames_used,
                "keyframes": status.keyframes,
                "gaussians": status.gaussians,
                "objects": things,
                "steps": status.steps,
                "steps_per_second": status.steps_per_second,
                "train_psnr": status.train_psnr,
                "rss_mb": round(resident_mb(), 1),
                "stream_share": round(stream_share, 4),
            }
        )

    def figures(self) -> dict[str, float | None]:
        """Keys of metrics.json that come from the samples."""
        latencies = np.array(self.label_latencies_ms)
        later = [count for share, count in self._stability if share >= 0.5]
        return {
            "label_latency_ms_p50": float(np.percentile(latencies, 50)) if len(latencies) else None,
            "label_latency_ms_p95": float(np.percentile(latencies, 95)) if len(latencies) else None,
            "id_stability": id_stability(count for _, count in self._stability),
            "id_stability_second_half": id_stability(later),
            "ids_changed": sum(count.changed for _, count in self._stability),
            "ids_vanished": sum(count.vanished for _, count in self._stability),
            "peak_rss_mb": max([round(peak_resident_mb(), 1), *(each["rss_mb"] for each in self.records)]),
            "peak_gpu_mb": peak_gpu_mb(),
        }

    def _time_label_image(self, snapshot, newest: Frame) -> float:
        """Seconds that it took."""
        start = time.perf_counter()
        snapshot.segment(frame_camera(newest, snapshot))
        took = time.perf_counter() - start
        self.label_latencies_ms.append(1000 * took)
        return took

    def _compare_publication(self, snapshot, stream_share: float) -> float:
        """Compare the objects with those of the last publication looked at; seconds that it took."""
        if snapshot.version == self._compared_version:
            return 0.0
        start = time.perf_counter()
        things = snapshot.things
        if self._compared is not None and len(self._compared.ids):
            self._stability.append((stream_share, compare_publications(self._compared, things)))
        self._compared_version, self._compared = snapshot.version, things
        return time.perf_counter() - start
