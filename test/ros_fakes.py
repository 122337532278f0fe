"""A session with MappingSession's interface and no Gaussians, so that node tests are fast: a row of spheres."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cgc_ros.frame import UNLABELLED
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.gaussians.storage import MapFileError
from cgc_ros.mapping import MapObject, OrientedBox, SessionStatus, ViewRender


def make_object(object_id, center=(0.0, 0.0, 1.0), size=(0.2, 0.2, 0.2), label="", background=False, num_points=50):
    """A MapObject whose points fill its box."""
    rng = np.random.default_rng(object_id)
    points = (np.asarray(center) + (rng.random((num_points, 3)) - 0.5) * size).astype(np.float32)
    box = OrientedBox(np.asarray(center, float), np.eye(3), np.asarray(size, float))
    colors = rng.integers(0, 255, (num_points, 3)).astype(np.uint8)
    return MapObject(object_id, label, 0.8 if label else 0.0, 0.9, background, box, points, colors, 4, 1_000, 2_000)


@dataclass(frozen=True)
class FakeSnapshot:
    """Each object is seen as the disc of a sphere as wide as its box; nothing hides anything."""

    version: int
    stamp_ns: int
    things: tuple
    backend: str = "cpu"
    num_gaussians: int = 100
    making_s: float = 0.0
    parts: tuple = ()

    @property
    def objects(self):
        time.sleep(self.making_s)
        return self.things

    @property
    def model(self):
        """One Gaussian at (1, 2, 3)."""
        model = GaussianModel()
        point = torch.tensor([[1.0, 2.0, 3.0]])
        half = torch.tensor([0.5])
        model.append(GaussianSeeds(point, torch.tensor([[2.0, 0.0, 0.0, 0.0]]), point / 100, half, point / 10), 0)
        return model

    def segment(self, camera):
        labels = np.full((camera.height, camera.width), UNLABELLED, np.uint16)
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        for each in self.things:
            x, y, z, _ = camera.camera_from_world.double().numpy() @ [*each.box.center, 1.0]
            if z > 0.05:
                radius = camera.fx * each.box.size[0] / 2 / z
                u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
                labels[(columns - u) ** 2 + (rows - v) ** 2 <= radius**2] = each.id
        return labels

    def render(self, camera, stamp_ns=None):
        shape = (camera.height, camera.width)
        return ViewRender(
            np.full((*shape, 3), 128, np.uint8), np.full(shape, 1.5, np.float32), np.ones(shape, np.float32)
        )


class Taken(list):
    """A ViewSink, a FrameSink and a FailureSink that keeps what it was handed."""

    on_view = submit = failed = list.append


class FakeMapper:
    """Saves a word instead of a map."""

    def save(self, path):
        Path(path).write_text("fake map")

    def restore(self, path):
        if Path(path).read_text() != "fake map":
            raise MapFileError(f"{path} is damaged: restore it from a copy")


@dataclass
class FakeSession:
    """Keeps what it was given. Questions wait for `between_steps`, as for a training step's end; making objects takes
    `making_s`.
    """

    objects: tuple = field(
        default_factory=lambda: tuple(make_object(index, (0.3 * index - 0.9, 0.0, 1.5)) for index in range(1, 6))
    )
    making_s: float = 0.0

    def __post_init__(self):
        self.frames, self.snapshot, self.mapper = [], None, FakeMapper()
        self.max_steps_per_second, self.snapshot_period, self.faults = 0.0, 0.5, {}
        self.mask_source = self.native_thread = None
        self.running = self.paused = False
        self._lock = threading.Lock()
        self.between_steps = threading.Event()
        self.between_steps.set()

    def start(self):
        self.running = True

    def stop(self, timeout=5.0):
        self.running = False
        return True

    def pause(self, paused=True):
        self.paused = paused

    def submit(self, frame):
        if self.paused:
            return
        with self._lock:
            self.frames.append(frame)
            self.snapshot = FakeSnapshot(len(self.frames), frame.stamp_ns, self.objects, making_s=self.making_s)

    def ask(self, function, timeout=30.0):
        with ThreadPoolExecutor(1) as worker:  # in another thread, as the real one's
            return worker.submit(lambda: self.between_steps.wait(timeout) and function(self.mapper)).result(timeout)

    def change(self, function, timeout=30.0):
        return self.ask(function, timeout)

    def relieve_memory(self):
        self.objects = self.objects[:1]

    def reset(self, timeout=30.0):
        self.frames.clear()
        self.snapshot = None

    def status(self):
        return SessionStatus(
            state="paused" if self.paused else "mapping",
            frames_received=len(self.frames),
            frames_used=len(self.frames),
            dropped={},
            keyframes=len(self.frames),
            gaussians=100,
            objects=len(self.objects),
            steps=5,
            steps_per_second=1.0,
            train_psnr=20.0,
            backend="cpu",
            mask_source="none",
            faults=dict(self.faults),
        )
