"""A perfect map of the synthetic scene, and a session that trains nothing: evaluation is testable alone."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from cgc_ros.evaluation.synthetic import SyntheticSequence, ray_cast
from cgc_ros.frame import Intrinsics
from cgc_ros.mapping import MapObject, OrientedBox, ViewRender
from cgc_ros.mapping.object_history import ObjectHistory
from cgc_ros.mapping.work_times import WorkTimes
from cgc_ros.rendering import Camera
from cgc_ros.segmentation.object_state import GaussianIds

ID_OFFSET = 40  # predicted id = instance id + 40: ids of a map are its own


class PerfectSnapshot:
    """Answers as a MapSnapshot does, from the scene itself."""

    num_gaussians = 1234
    model = SimpleNamespace(device="cpu")

    def __init__(self, version: int = 1):
        self.version = version
        self.stamp_ns = 0
        self.absent, self.history = (), ObjectHistory()
        sequence = SyntheticSequence(num_frames=2)
        self.objects = tuple(
            map_object(instance + ID_OFFSET, points, name=sequence.truth.labels[instance][0])
            for instance, points in sequence.truth.object_points.items()
        )

    @property
    def things(self) -> GaussianIds:
        """A Gaussian for every point of a thing."""
        ids = [np.full(len(each.points), each.id, np.int32) for each in self.objects if not each.background]
        ids = np.concatenate(ids)
        return GaussianIds(np.arange(len(ids)), ids)

    def render(self, camera: Camera, stamp_ns: int | None = None) -> ViewRender:
        image, depth, _ = self._view(camera)
        return ViewRender(image, depth, np.ones_like(depth))

    def segment(self, camera: Camera) -> np.ndarray:
        return (self._view(camera)[2] + ID_OFFSET).astype(np.uint16)

    @staticmethod
    def _view(camera: Camera):
        intrinsics = Intrinsics(camera.width, camera.height, camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5)
        return ray_cast(intrinsics, np.linalg.inv(camera.camera_from_world.double().numpy()))


def map_object(
    object_id: int, points: np.ndarray, name: str = "", background: bool = False, confidence: float = 1.0
) -> MapObject:
    points = np.asarray(points, np.float32)
    box = OrientedBox(points.mean(axis=0), np.eye(3), np.ptp(points, axis=0))
    return MapObject(
        id=object_id,
        label=name,
        label_confidence=float(bool(name)),
        confidence=confidence,
        background=background,
        box=box,
        points=points,
        colors=np.full(points.shape, 128, np.uint8),
        num_views=3,
        first_seen_ns=1,
        last_seen_ns=2,
    )


class FakeMapper:
    """What `stream` and `write_run` ask of a mapper."""

    finished = False

    def __init__(self):
        self.work = WorkTimes()
        self.keyframes = SimpleNamespace(next_id=7)

    def refresh_objects(self) -> None:
        pass

    def save(self, path) -> None:
        path.write_text("map")


@dataclass
class FakeSession:
    """Takes every frame at once, publishes a perfect map."""

    submitted: list = field(default_factory=list)
    snapshot: PerfectSnapshot | None = None
    waiting_frames: int = 0
    on_submit: object = None
    paused: bool = False
    stopped: bool = False
    mapper: FakeMapper = field(default_factory=FakeMapper)

    def submit(self, frame) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.submitted.append(frame)
        self.snapshot = PerfectSnapshot(len(self.submitted))
        if self.on_submit:
            self.on_submit(frame)

    def status(self):
        count = len(self.submitted)
        return SimpleNamespace(
            frames_received=count,
            frames_used=count,
            dropped={},
            keyframes=count,
            gaussians=10 * count,
            objects=4,
            steps=5 * count,
            steps_per_second=5.0,
            train_psnr=float("nan"),
            backend="cpu",
            mask_source="given",
            faults={},
            state="mapping",
        )

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def ask(self, function, timeout: float = 30.0):
        return function(self.mapper)

    change = ask

    def stop(self) -> None:
        self.stopped = True


@dataclass
class VirtualClock:
    """Time that passes only by sleeping, so that schedules are exact however loaded the machine is."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def read(path) -> dict:
    return json.loads(path.read_text())
