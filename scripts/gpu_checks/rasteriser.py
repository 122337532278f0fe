"""gsplat and the training step on it: built, equal to the CPU's, and how fast."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from cgc_ros.evaluation.bench_scene import BenchScene, make_camera, make_scene
from cgc_ros.evaluation.machine import now
from cgc_ros.evaluation.raster_bench import run_raster_bench
from cgc_ros.frame import Frame
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.rendering import available_backends, device_of, gsplat_build, label_image, mask_votes, rasterize

#: Largest accepted mean difference of images and relative L2 difference of everything else. gsplat computes in float32
#: with fast exponentials: single pixels flip where alpha crosses 1/255 or transmittance 1e-4.
MEAN_IMAGE_DIFFERENCE, RELATIVE_DIFFERENCE = 1e-4, 2e-2


def build(backend: str) -> dict:
    if "not compiled" in available_backends()["gsplat"]:
        gsplat_build.build()
        from cgc_ros.rendering import backends

        backends.why_unavailable.cache_clear()
    if reason := available_backends()["gsplat"]:
        raise SystemExit(f"gsplat cannot run here: {reason}")
    return {"gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "cuda": torch.version.cuda}


def parity(backend: str) -> dict:
    """Of `backend` with the CPU's, and of the CPU's with the reference where that is what is checked."""
    counts, size, against = (5_000, 50_000, 200_000), (320, 240), "cpu"
    if backend == "cpu":
        counts, size, against = (500,), (64, 48), "reference"
    found = {}
    for count in counts:
        for name, difference in _differences(make_scene(count), size, backend, against).items():
            bound = MEAN_IMAGE_DIFFERENCE if name.startswith("image") else RELATIVE_DIFFERENCE
            if not difference <= bound:
                raise SystemExit(f"{backend} and {against} differ in {name} of {count} Gaussians: {difference:.1e}")
            found[name] = max(difference, found.get(name, 0.0))
    return {"worst image difference": max(v for k, v in found.items() if k.startswith("image"))} | {
        "worst relative difference": max(v for k, v in found.items() if not k.startswith("image"))
    }


def speed(backend: str) -> dict:
    figures = run_raster_bench(backend=backend, quick=True, compare_with_torch=False)
    kept = ("raster_forward_ms", "raster_backward_ms", "train_steps_per_second", "label_views_per_second")
    return {name: figures[name] for name in kept} | {"million_gaussians_mb": _training_memory(1_000_000)}


def profile(backend: str) -> dict:
    """Steps a second of the mapper's own training, and the operators that take most; the table goes to stderr."""
    mapper = Mapper(MapperConfig(backend=backend))
    scene, size = make_scene(20_000 if backend == "gsplat" else 2_000).to(str(mapper.device)), (320, 240)
    for number in range(4):
        camera = make_camera(*size, str(mapper.device), yaw=0.1 * number)
        view = rasterize(*scene.gaussians, camera, colors=scene.colors, depth=True, backend=mapper.backend)
        image = (view.color.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
        mapper.add_frame(_frame(number, image, view.depth.cpu().numpy(), camera))
    for _ in range(5):
        mapper.step()
    steps = 50 if backend == "gsplat" else 5
    start, _ = now(mapper.device)
    for _ in range(steps):
        mapper.step()
    seconds = now(mapper.device)[0] - start
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if backend == "gsplat" else []
    with torch.profiler.profile(activities=activities) as profiled:
        for _ in range(3):
            mapper.step()
    averages = profiled.key_averages()
    key = "self_cuda_time_total" if backend == "gsplat" else "self_cpu_time_total"
    print(averages.table(sort_by=key, row_limit=25), file=sys.stderr)
    return {"steps_per_second": steps / seconds, "gaussians": len(mapper.model)}


def _frame(number: int, image: np.ndarray, depth: np.ndarray, camera) -> Frame:
    from cgc_ros.frame import Intrinsics

    intrinsics = Intrinsics(camera.width, camera.height, camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5)
    pose = np.linalg.inv(camera.camera_from_world.double().cpu().numpy())
    return Frame(number * 10**9, image, pose, intrinsics, depth)


def _differences(scene: BenchScene, size: tuple[int, int], backend: str, against: str) -> dict[str, float]:
    """Mean absolute difference of images, relative L2 difference of gradients and votes, share of labels apart."""
    sides = {}
    for name in (backend, against):
        device = str(device_of(name))
        moved, camera = scene.to(device), make_camera(*size, device)
        images, gradients = _render(moved, size, name)
        labels, _, _ = label_image(*moved.gaussians, camera, moved.object_ids, backend=name)
        none = label_image(*moved.gaussians, camera, torch.full_like(moved.object_ids, -1), backend=name)[0]
        if not bool((none == -1).all()):
            raise SystemExit(f"{name} labels views in which nothing has an id")
        sides[name] = images, gradients, labels.cpu()
    (images, gradients, labels), (true_images, true_gradients, true_labels) = sides[backend], sides[against]
    found = {f"image {name}": float((images[name] - true_images[name]).abs().mean()) for name in images}
    found |= {f"gradient {name}": _relative(gradients[name], true_gradients[name]) for name in gradients}
    found["share of labels"] = float((labels != true_labels).double().mean())
    votes = [
        mask_votes(
            *scene.to(str(device_of(name))).gaussians,
            make_camera(*size, str(device_of(name))),
            true_labels.to(device_of(name)),
            14,
            backend=name,
        ).cpu()
        for name in (backend, against)
    ]
    return found | {"votes": _relative(*votes)}


def _render(scene: BenchScene, size: tuple[int, int], backend: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    camera = make_camera(*size, str(scene.means.device))
    camera.camera_from_world.requires_grad_()
    names = ("means", "quats", "scales", "opacities", "colors", "features")
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in names}
    wanted = {name: leaves[name] for name in ("colors", "features")} | {"depth": True, "backend": backend}
    out = rasterize(*(leaves[name] for name in names[:4]), camera, **wanted)
    images = {"color": out.color, "features": out.features, "depth": out.depth, "alpha": out.alpha}
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(image.shape, generator=generator).to(image.device) for image in images.values()]
    torch.autograd.backward(list(images.values()), weights)
    gradients = {name: leaf.grad.cpu() for name, leaf in leaves.items()}
    gradients["camera"] = camera.camera_from_world.grad.cpu()
    return {name: image.detach().cpu() for name, image in images.items()}, gradients


def _training_memory(count: int) -> float:
    """Peak GPU memory of one render of 20 channels at 640x480 with all gradients, MB (10^6 bytes)."""
    scene = make_scene(count).to("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    camera = make_camera(640, 480, "cuda")
    leaves = [tensor.clone().requires_grad_() for tensor in (*scene.gaussians, scene.colors, scene.features)]
    out = rasterize(*leaves[:4], camera, colors=leaves[4], features=leaves[5], depth=True, backend="gsplat")
    (out.color.sum() + out.features.sum() + out.depth.sum()).backward()
    return torch.cuda.max_memory_allocated() / 1e6


def _relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm().clamp_min(1e-30))
