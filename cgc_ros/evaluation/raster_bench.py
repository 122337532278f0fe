"""Speed of the rasteriser alone: forward, backward, training steps and label views of a synthetic scene."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgc_ros.evaluation.bench_scene import BenchScene, make_camera, make_scene
from cgc_ros.evaluation.machine import describe_machine, now
from cgc_ros.evaluation.map_bench import measure_map
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, EPSILON, GaussianAdam
from cgc_ros.rendering import (
    Camera,
    Render,
    StepLosses,
    available_backends,
    blend_weights,
    device_of,
    label_image,
    rasterize,
    step_gradients,
    train_in_place,
)
from cgc_ros.rendering.kernels import WHY_UNAVAILABLE, kernels
from cgc_ros.rendering.spherical_harmonics import SH_C0
from cgc_ros.rendering.training_step import TRAINED
from cgc_ros.segmentation.losses import contrastive_clustering_loss

#: The scene that the headline figures are about, and the threads they are measured with.
NUM_GAUSSIANS, WIDTH, HEIGHT, THREADS = 50_000, 320, 240, 2
SAMPLED_PIXELS = 1024  # of the contrastive loss
TINY_RATE = 1e-6  # of learning: too small to change what is rendered

#: Gaussians, width, height, channels.
FULL_TABLE = [
    (count, width, height, channels)
    for width, height in ((320, 240), (640, 480))
    for count in (10_000, 20_000, 50_000, 100_000, 200_000, 500_000)
    for channels in ("20", "color")
]
QUICK_TABLE = [(50_000, 320, 240, "20"), (50_000, 640, 480, "20")]


@dataclass(frozen=True)
class Timing:
    """Medians over calls. Processor time is summed over threads: it leaves out the waits of a loaded machine."""

    wall_ms: float
    cpu_ms: float


def run_raster_bench(
    *,
    backend: str = "cpu",
    threads: int = THREADS,
    quick: bool = False,
    compare_with_torch: bool = True,
    map_file: Path | None = None,
    on_progress: Callable[[str], None] = lambda stage: None,
) -> dict:
    """Measure the rasteriser; the keys are those of `cgc bench raster --json`.

    Args:
        backend: cpu or gsplat.
        threads: of the CPU backend.
        quick: two rows instead of the table over Gaussians, image sizes and channels.
        compare_with_torch: time the plain PyTorch rasteriser, too (seconds).
        map_file: a saved map that is measured from its own keyframes, too.
        on_progress: told what is measured next.
    """
    device = str(device_of(backend))
    with _threads(threads):
        on_progress(f"{NUM_GAUSSIANS:,} Gaussians at {WIDTH}x{HEIGHT}")
        scene, camera = make_scene(NUM_GAUSSIANS).to(device), make_camera(WIDTH, HEIGHT, device)
        forward, backward = time_render(scene, camera, "20", backend)
        blends = count_blends(scene, camera, backend)
        on_progress("training steps")
        steps = time_training(scene, camera, backend)
        on_progress("label views")
        labels = time_labels(scene, make_camera(640, 480, device), backend)
        figures = {
            "benchmark": "raster",
            "backend": backend,
            "instruction_set": "" if WHY_UNAVAILABLE else kernels.instruction_set(),
            "threads": threads,
            "raster_forward_ms": forward.wall_ms,
            "raster_backward_ms": backward.wall_ms,
            "raster_forward_cpu_ms": forward.cpu_ms,
            "raster_backward_cpu_ms": backward.cpu_ms,
            "blends_per_pixel": blends / (WIDTH * HEIGHT),
            "raster_forward_ns_per_blend": 1e6 * forward.cpu_ms / blends,
            "raster_backward_ns_per_blend": 1e6 * backward.cpu_ms / blends,
            "train_steps_per_second": 1e3 / steps.wall_ms,
            "train_step_cpu_ms": steps.cpu_ms,
            "label_views_per_second": 1e3 / labels.wall_ms,
            "label_view_cpu_ms": labels.cpu_ms,
        }
        if backend == "cpu":  # lanes of the kernels' vectors: blends, and pixels beside them in the same block
            evaluations = count_evaluations(scene, camera)
            figures["evaluations_per_pixel"] = evaluations / (WIDTH * HEIGHT)
            figures["raster_forward_ns_per_evaluation"] = 1e6 * forward.cpu_ms / evaluations
            figures["raster_backward_ns_per_evaluation"] = 1e6 * backward.cpu_ms / evaluations
        if compare_with_torch:
            on_progress("the plain PyTorch rasteriser")
            reference = time_render(scene, camera, "20", "reference", calls=2, warm_up=2)
            figures["torch_forward_ms"], figures["torch_backward_ms"] = (timing.wall_ms for timing in reference)
            figures["speedup_over_torch"] = sum(t.wall_ms for t in reference) / (forward.wall_ms + backward.wall_ms)
        if backend == "cpu" and not available_backends()["gsplat"]:
            on_progress("gsplat on the GPU")
            peer = time_render(scene.to("cuda"), make_camera(WIDTH, HEIGHT, "cuda"), "20", "gsplat")
            figures["gsplat_forward_ms"], figures["gsplat_backward_ms"] = (timing.wall_ms for timing in peer)
        if map_file is not None:
            on_progress(f"the map {map_file}")
            figures["map"] = measure_map(map_file, backend)
        figures["table"] = list(_table(QUICK_TABLE if quick else FULL_TABLE, backend, device, on_progress))
    figures["machine"] = describe_machine()
    return figures


def time_render(
    scene: BenchScene, camera: Camera, channels: str, backend: str, calls: int = 15, warm_up: int = 3
) -> tuple[Timing, Timing]:
    """Forward and backward, all gradients; channels "20" (colour, features, depth), "color" or "features"."""
    leaves = [tensor.clone().requires_grad_() for tensor in (*scene.gaussians, scene.colors, scene.features)]
    means, quats, scales, opacities, colors, features = leaves
    choices: dict[str, dict[str, Any]] = {
        "20": {"colors": colors, "features": features, "depth": True},
        "color": {"colors": colors},
        "features": {"features": features},
    }
    wanted = choices[channels]
    seeds: list[Tensor] = []
    forward, backward = [], []
    for call in range(warm_up + calls):
        for leaf in leaves:
            leaf.grad = None
        start = now(scene.means.device)
        render = rasterize(means, quats, scales, opacities, camera, **wanted, backend=backend)
        middle = now(scene.means.device)
        outputs = [image for image in (render.color, render.features, render.depth) if image is not None]
        if not seeds:
            generator = torch.Generator().manual_seed(0)
            seeds = [torch.randn(image.shape, generator=generator).to(image.device) for image in outputs]
        before = now(scene.means.device)
        torch.autograd.backward(outputs, seeds)
        end = now(scene.means.device)
        if call >= warm_up:
            forward.append((middle[0] - start[0], middle[1] - start[1]))
            backward.append((end[0] - before[0], end[1] - before[1]))
    return _median(forward), _median(backward)


def time_training(scene: BenchScene, camera: Camera, backend: str, calls: int = 20, warm_up: int = 3) -> Timing:
    """Steps that render colour and depth, compare both, cluster features at sampled pixels and move everything."""
    model = _model_of(scene)
    optimizer = GaussianAdam(model)
    device = scene.means.device
    with torch.no_grad():
        target = rasterize(*scene.gaussians, camera, colors=scene.colors, depth=True, backend=backend)
        labels = label_image(*scene.gaussians, camera, scene.object_ids, backend=backend)[0].flatten().long()
    move = _Move(camera, target, backend)
    generator = torch.Generator().manual_seed(0)
    times = []
    for call in range(warm_up + calls):
        start = now(scene.means.device)
        pixels = torch.randperm(camera.width * camera.height, generator=generator)[:SAMPLED_PIXELS].to(device)
        with torch.no_grad():
            geometry = (model.means, model.quats, model.scales, model.opacities)
            sampled = blend_weights(*geometry, camera, pixels, backend=backend)
        features = model.features.detach().requires_grad_(True)
        contrastive_clustering_loss(sampled.blend(features), labels[pixels]).backward()
        optimizer.step({"features": features.grad}, {"features": TINY_RATE}, touched_only=True)
        move(model, optimizer)
        end = now(scene.means.device)
        if call >= warm_up:
            times.append((end[0] - start[0], end[1] - start[1]))
    return _median(times)


class _Move:
    """The photometric part of a step, as the mapper takes it on a backend."""

    LOSSES = StepLosses(
        ssim=0.2,
        depth=0.1,
        opacity=0.0,
        coverage=0.0,
        anisotropy=0.0,
        max_anisotropy=6.0,
        depth_min_alpha=0.3,
        depth_max_error=0.5,
    )

    def __init__(self, camera: Camera, target: Render, backend: str):
        self.camera, self.backend = camera, backend
        self.color = (target.color.clamp(0, 1) * 255).round().to(torch.uint8)
        self.depth = target.depth.half()
        self.inverse_depth = torch.where(target.depth > 0, 1 / target.depth, 0.0)

    def __call__(self, model: GaussianModel, optimizer: GaussianAdam) -> None:
        rates = dict.fromkeys(TRAINED, TINY_RATE)
        settings: dict[str, Any] = {
            "sh_degree": 0,
            "gain": np.ones(3),
            "offset": np.zeros(3),
            "background": torch.zeros(3, device=self.color.device),
        }
        if self.backend == "cpu":
            train_in_place(
                model.parameters,
                model.moments,
                rates,
                self.camera,
                self.color.numpy(),
                self.depth.numpy(),
                None,
                self.LOSSES,
                **settings,
                betas=(BETA1, BETA2),
                epsilon=EPSILON,
            )
            return
        found = step_gradients(
            model.parameters,
            self.camera,
            self.color,
            self.inverse_depth,
            None,
            self.LOSSES,
            **settings,
            backend=self.backend,
        )
        optimizer.step(found.gradients, rates, found.visible)


def time_labels(scene: BenchScene, camera: Camera, backend: str, calls: int = 15, warm_up: int = 3) -> Timing:
    """A view's label image, with confidence and depth."""
    times = []
    for call in range(warm_up + calls):
        start = now(scene.means.device)
        label_image(*scene.gaussians, camera, scene.object_ids, backend=backend)
        end = now(scene.means.device)
        if call >= warm_up:
            times.append((end[0] - start[0], end[1] - start[1]))
    return _median(times)


def count_blends(scene: BenchScene, camera: Camera, backend: str) -> int:
    """Pairs of Gaussian and pixel that are blended: those that reach alpha 1/255 before the pixel is opaque."""
    return blend_weights(*scene.gaussians, camera, None, backend=backend).values.numel()


def count_evaluations(scene: BenchScene, camera: Camera) -> int:
    """Pairs of Gaussian and pixel that the CPU kernels compute."""
    means = scene.means.clone().requires_grad_()
    graph: Any = rasterize(means, *scene.gaussians[1:], camera, backend="cpu").alpha.grad_fn
    return 8 * graph.state.num_blends


def _table(rows: list, backend: str, device: str, on_progress: Callable[[str], None]) -> Iterator[dict]:
    scenes: dict[int, BenchScene] = {}
    for count, width, height, channels in rows:
        on_progress(f"{count:,} Gaussians at {width}x{height}, {channels} channels")
        if count not in scenes:
            scenes = {count: make_scene(count).to(device)}
        camera = make_camera(width, height, device)
        forward, backward = time_render(scenes[count], camera, channels, backend, calls=9, warm_up=2)
        blends = count_blends(scenes[count], camera, backend)
        row = {
            "gaussians": count,
            "size": f"{width}x{height}",
            "channels": channels,
            "forward_ms": forward.wall_ms,
            "backward_ms": backward.wall_ms,
            "forward_cpu_ms": forward.cpu_ms,
            "backward_cpu_ms": backward.cpu_ms,
            "blends_per_pixel": blends / (width * height),
            "forward_ns_per_blend": 1e6 * forward.cpu_ms / blends,
            "backward_ns_per_blend": 1e6 * backward.cpu_ms / blends,
        }
        if channels == "20":
            row["train_step_ms"] = time_training(scenes[count], camera, backend, calls=5, warm_up=1).wall_ms
        yield row


def _model_of(scene: BenchScene) -> GaussianModel:
    model = GaussianModel(sh_degree=0, device=scene.means.device)
    harmonics = ((scene.colors - 0.5) / SH_C0)[:, None]
    values = (scene.means, scene.quats, scene.scales.log(), torch.logit(scene.opacities), harmonics, scene.features)
    model.parameters = {name: value.clone() for name, value in zip(model.row_shapes(), values, strict=True)}
    model.moments = {
        name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in model.parameters.items()
    }
    return model


def _median(times: list[tuple[float, float]]) -> Timing:
    wall, cpu = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    return Timing(wall, cpu)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
