"""Faults beneath the node, with the real mapper: failing or hanging masks, full memory or disk, bad map files."""

import resource
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cgc_ros.srv import LoadMap, QueryObjects, SaveMap
from ros_rig import Rig, slowdown
from safetensors.numpy import save
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from cgc_ros.mapping import Mapper, MapperConfig, MappingSession
from cgc_ros.mapping import session as session_module
from cgc_ros.mapping.config import DensityConfig, KeyframeConfig
from cgc_ros.mapping.mapper import MAX_MEMORY_FAILURES
from cgc_ros.masks import MaskSource
from cgc_ros.ros import view_rendering
from cgc_ros.ros.faults import FAULTS
from cgc_ros.ros.parameters import NodeParameters
from cgc_ros.ros.session_factory import create_session

CONFIG = MapperConfig(
    backend="cpu", sh_degree=0, density=DensityConfig(max_gaussians=2000), keyframes=KeyframeConfig(max_keyframes=5)
)


class Masks(MaskSource):
    """A mask source that does what `behave` does."""

    name = "trial"

    def __init__(self):
        self.behave = self.work
        self.released = threading.Event()

    def segment(self, image, *, depth=None):
        return self.behave(image)

    def work(self, image):
        masks = np.ones(image.shape[:2], np.int32)
        masks[10:30, 10:40] = 2
        return masks

    def hang(self, image):
        self.released.wait(30.0)
        return self.work(image)


def smaller(image):
    return np.ones((4, 4), np.int32)


def no_integers(image):
    return np.full(image.shape[:2], np.nan)


def out_of_luck(image):
    raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def masks():
    return Masks()


@pytest.fixture(scope="module")
def rig(masks, tmp_path_factory):
    session = MappingSession(Mapper(CONFIG), masks, snapshot_period=0.05)
    with Rig(session, map_directory=str(tmp_path_factory.mktemp("maps"))) as rig:
        rig.connect()
        rig.wait(lambda: rig.publisher(Image, "depth").get_subscription_count())
        rig.wait(lambda: session.status().steps > 3, 20.0, do=lambda: look(rig), every=0.1)
        yield rig
        masks.released.set()


def look(rig):
    """A frame from a place of its own, which becomes a keyframe."""
    rig.send_depth(np.full((48, 64), 1.5, np.float32), move=0.15)


def named(rig, fault, timeout=2.0, **how):
    """What /diagnostics says about a fault that must be active within `timeout`."""
    message = rig.wait(lambda: rig.diagnosis(fault), timeout, **how)
    assert FAULTS[fault].remedy in message
    return message


def goes_on(rig):
    """Mapping, label images and queries."""
    session, labels = rig.session, rig.listen(Image, "cgc/segmentation/image")
    steps, count = session.status().steps, len(labels)
    rig.wait(lambda: session.status().steps > steps and len(labels) > count, 10.0, do=lambda: look(rig), every=0.1)
    assert rig.call(QueryObjects, "cgc/query_objects").success


@pytest.mark.parametrize("behave", [smaller, no_integers, out_of_luck])
def test_a_mask_source_that_raises_or_makes_nonsense(rig, masks, behave):
    masks.behave = behave
    named(rig, "mask_source_failed", 5.0, do=lambda: look(rig), every=0.1)
    masks.behave = masks.work
    goes_on(rig)
    rig.wait(lambda: "mask_source_failed" not in rig.faults(), 10.0, do=lambda: look(rig), every=0.1)


def test_a_mask_source_that_hangs_is_named_2_s_after_it_should_have_been_done(rig, masks):
    masks.behave = masks.hang
    started = []

    def hanging():
        look(rig)
        if rig.session.masks.is_working and not started:
            started.append(time.monotonic())

    message = named(rig, "mask_source_hung", 5.0, do=hanging, every=0.05)
    assert time.monotonic() - started[0] < (1.5 + 2.0) * slowdown() and "trial has worked on one image" in message
    goes_on(rig)
    masks.behave = masks.work
    masks.released.set()
    rig.wait(lambda: "mask_source_hung" not in rig.faults(), 3.0)
    masks.released.clear()


def test_memory_that_runs_out_in_training_makes_the_map_smaller(rig, monkeypatch):
    step, failing = rig.session.mapper.step, [torch.cuda.OutOfMemoryError("CUDA out of memory")]
    gaussians = rig.session.status().gaussians
    monkeypatch.setattr(rig.session.mapper, "step", lambda: step() if not failing else raising(failing.pop()))
    assert "the map was cut to" in named(rig, "out_of_memory")
    assert rig.session.status().gaussians <= gaussians
    goes_on(rig)


def test_memory_that_runs_out_in_a_snapshot_does_not_end_mapping(rig, monkeypatch):
    rig.node.faults.clear("out_of_memory")
    snapshot, failing = rig.session.mapper.snapshot, [MemoryError()]
    monkeypatch.setattr(rig.session.mapper, "snapshot", lambda: snapshot() if not failing else raising(failing.pop()))
    named(rig, "out_of_memory", 3.0, do=lambda: look(rig), every=0.1)
    goes_on(rig)


def test_memory_that_runs_out_for_label_images_makes_the_map_smaller(rig, monkeypatch):
    rig.node.faults.clear("out_of_memory")
    render, failing = view_rendering.render_labels, [RuntimeError("DefaultCPUAllocator: can't allocate memory")]
    monkeypatch.setattr(
        view_rendering, "render_labels", lambda *seen: render(*seen) if not failing else raising(failing.pop())
    )
    monkeypatch.setattr(session_module, "RELIEF_PAUSE", 0.0)
    failures = rig.session.mapper.memory_failures
    rig.listen(Image, "cgc/segmentation/image")
    named(rig, "out_of_memory", do=lambda: look(rig), every=0.1)
    rig.wait(lambda: rig.session.mapper.memory_failures > failures, do=lambda: look(rig), every=0.1)
    goes_on(rig)


def test_memory_that_runs_out_on_a_gpu_again_and_again_moves_mapping_to_the_cpu():
    mapper = Mapper(CONFIG)
    mapper.device = torch.device("cuda")  # as it would be there
    said = [mapper.relieve_memory() for _ in range(MAX_MEMORY_FAILURES + 1)]
    assert "on the CPU" in said[-1] and not any("CPU" in text for text in said[:-1])
    assert mapper.device.type == mapper.snapshot().model.means.device.type == "cpu"


def test_a_full_disk_is_named_and_the_map_and_the_older_file_stay(rig):
    """A limit on file sizes makes writes fail in the middle, as a full disk does."""
    saved = rig.call(SaveMap, "cgc/save_map", name="kitchen")
    assert saved.success
    before = Path(saved.path).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        refused = rig.call(SaveMap, "cgc/save_map", name="kitchen")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not refused.success and "free space" in refused.message
    named(rig, "save_failed")
    assert Path(saved.path).read_bytes() == before and [each.name for each in Path(saved.path).parent.iterdir()] == [
        "kitchen.cgc"
    ]
    goes_on(rig)
    assert rig.call(SaveMap, "cgc/save_map", name="kitchen").success
    rig.wait(lambda: "save_failed" not in rig.faults(), 2.0)


def test_a_camera_without_depth_that_stands_still(rig):
    assert rig.call(Trigger, "cgc/reset").success
    assert "they have no depth" in named(rig, "no_parallax", 4.0, do=lambda: rig.send(move=0.0), every=0.1)
    goes_on(rig)
    rig.wait(lambda: "no_parallax" not in rig.faults(), 10.0, do=lambda: look(rig), every=0.1)


def truncated(content):
    return content[: len(content) // 2]


def damaged(content):
    return content[:-1000] + bytes([content[-1000] ^ 255]) + content[-999:]


def foreign(content):
    return save({"weights": np.zeros(3, np.float32)}, metadata={"format": "pt"})


@pytest.mark.parametrize("change", [truncated, damaged, foreign])
def test_a_bad_map_file_is_refused_and_the_map_stays(rig, change):
    saved = rig.call(SaveMap, "cgc/save_map", name="bad")
    Path(saved.path).write_bytes(change(Path(saved.path).read_bytes()))
    rig.node.faults.clear("load_failed")
    gaussians = rig.session.status().gaussians
    refused = rig.call(LoadMap, "cgc/load_map", name="bad")
    assert not refused.success and saved.path in refused.message
    named(rig, "load_failed")
    assert rig.session.status().gaussians > 0.9 * gaussians  # training goes on, and prunes some
    goes_on(rig)


def test_shutdown_takes_less_than_5_s_while_a_mask_source_hangs_and_saves_the_map(tmp_path):
    masks = Masks()
    masks.behave = masks.hang
    session = MappingSession(Mapper(CONFIG), masks)
    with Rig(session, map_directory=str(tmp_path), save_on_shutdown="last") as rig:
        rig.connect()
        rig.wait(lambda: session.masks.is_working, 10.0, do=lambda: look(rig), every=0.1)
        started = time.monotonic()
        rig.node.trigger_shutdown()
        assert time.monotonic() - started < 5.0 * slowdown()
    masks.released.set()
    assert len(Mapper.load(tmp_path / "last.cgc", CONFIG).keyframes) > 0


def test_the_offline_recipe_is_refused_with_the_reason():
    parameters = NodeParameters(mapper=replace(MapperConfig(), recipe="paper"))
    with pytest.raises(ValueError, match="cgc map --recipe paper"):
        create_session(parameters)
    with Rig(autostart=False, mapper__recipe="paper") as rig:
        rig.node.session_factory = create_session
        assert not rig.node.autostart() and rig.node.lifecycle_state == "unconfigured"
        assert "offline baseline" in named(rig, "configure_failed")


def raising(error):
    raise error
