"""The rasteriser's benchmark gives the figures that scripts rely on."""

import pytest
import torch
from gsplat_operators import gsplat_on_cpu  # noqa: F401

from cgc_ros.evaluation import raster_bench
from cgc_ros.evaluation.bench_scene import make_camera, make_scene
from cgc_ros.evaluation.machine import now
from cgc_ros.rendering import rasterize

PROMISED = [
    "raster_forward_ms",
    "raster_backward_ms",
    "raster_forward_ns_per_blend",
    "raster_backward_ns_per_blend",
    "train_steps_per_second",
    "label_views_per_second",
    "speedup_over_torch",
]


def test_every_promised_figure_is_there(monkeypatch):
    monkeypatch.setattr(raster_bench, "NUM_GAUSSIANS", 500)
    monkeypatch.setattr(raster_bench, "WIDTH", 64)
    monkeypatch.setattr(raster_bench, "HEIGHT", 48)
    monkeypatch.setattr(raster_bench, "SAMPLED_PIXELS", 64)
    monkeypatch.setattr(raster_bench, "QUICK_TABLE", [(300, 32, 24, "20"), (300, 32, 24, "color")])
    threads = torch.get_num_threads()
    figures = raster_bench.run_raster_bench(quick=True, threads=1)
    assert torch.get_num_threads() == threads
    assert all(figures[name] > 0 for name in PROMISED)
    assert figures["machine"]["processor"]
    assert [row["channels"] for row in figures["table"]] == ["20", "color"]


@pytest.mark.parametrize("device, waits", [("cuda", 1), ("cpu", 0)])
def test_time_is_taken_when_the_gpu_is_done(monkeypatch, device, waits):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(True))
    earlier = now(torch.device(device))
    assert len(waited) == waits and now(torch.device(device))[0] > earlier[0]


def test_training_is_timed_on_gsplat_as_the_mapper_trains(gsplat_on_cpu):  # noqa: F811
    timing = raster_bench.time_training(make_scene(40), make_camera(24, 16), "gsplat", calls=1, warm_up=0)
    assert timing.wall_ms > 0


def test_the_scene_is_like_a_map():
    scene, camera = make_scene(20_000), make_camera(320, 240)
    blends = raster_bench.count_blends(scene, camera, "cpu") / (320 * 240)
    assert 30 <= blends <= 40  # what docs and targets speak of
    visible = rasterize(*scene.gaussians, camera).visible.float().mean().item()
    assert visible == pytest.approx(0.75, abs=0.05)
    assert torch.equal(make_scene(100).means, make_scene(100).means)
