#!/usr/bin/env python3
"""All checks that need a GPU, in one call: parity of gsplat with the CPU kernels, speed, memory.

    python scripts/gpu_check.py [--json FILE] [--quick]

Prints a report; exits with 1 where parity fails and with 2 where gsplat cannot run (the reason is printed).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cgc_ros.evaluation.bench_scene import BenchScene, make_camera, make_scene  # noqa: E402
from cgc_ros.evaluation.raster_bench import run_raster_bench  # noqa: E402
from cgc_ros.rendering import available_backends, label_image, mask_votes, rasterize  # noqa: E402

#: Largest accepted mean difference of images and relative L2 difference of everything else. gsplat computes in float32
#: with fast exponentials: single pixels flip where alpha crosses 1/255 or transmittance 1e-4.
MEAN_IMAGE_DIFFERENCE, RELATIVE_DIFFERENCE = 1e-4, 2e-2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures here")
    parser.add_argument("--quick", action="store_true", help="a short table of speeds")
    arguments = parser.parse_args()
    reason = available_backends()["gsplat"]
    if reason:
        print(f"gsplat cannot run here: {reason}")
        return 2
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")

    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(ROOT / "test" / "test_rendering_gsplat.py")], check=False
    )
    parity = {f"{count} Gaussians": compare(make_scene(count)) for count in (5_000, 50_000, 200_000)}
    for name, differences in parity.items():
        print(name, {key: f"{value:.1e}" for key, value in differences.items()})
    failed = [
        f"{name}: {key}" for name, found in parity.items() for key, value in found.items() if not passes(key, value)
    ]

    figures = run_raster_bench(backend="gsplat", quick=arguments.quick, on_progress=print)
    figures["parity"] = parity
    figures["memory"] = [training_memory(count) for count in (50_000, 200_000, 1_000_000)]
    print(json.dumps({key: value for key, value in figures.items() if key != "parity"}, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    if failed:
        print("gsplat and the CPU backend differ in " + ", ".join(failed))
    return 1 if failed or tests.returncode else 0


def passes(name: str, difference: float) -> bool:
    return difference <= (MEAN_IMAGE_DIFFERENCE if name.startswith("image") else RELATIVE_DIFFERENCE)


def compare(scene: BenchScene) -> dict[str, float]:
    """Mean absolute difference of images, relative L2 difference of gradients and votes, share of labels apart."""
    camera = make_camera(320, 240)
    ours, ours_gradients = render(scene, "cpu")
    theirs, their_gradients = render(scene.to("cuda"), "gsplat")
    found = {f"image {name}": float((theirs[name].cpu() - ours[name]).abs().mean()) for name in ours}
    found |= {
        f"gradient {name}": relative(their_gradients[name].cpu(), ours_gradients[name]) for name in ours_gradients
    }

    on_gpu, gpu_camera = scene.to("cuda"), make_camera(320, 240, "cuda")
    labels, _, _ = label_image(*scene.gaussians, camera, scene.object_ids)
    gpu_labels, _, _ = label_image(*on_gpu.gaussians, gpu_camera, on_gpu.object_ids)
    found["share of labels"] = float((gpu_labels.cpu() != labels).double().mean())
    votes = mask_votes(*scene.gaussians, camera, labels, 14)
    found["votes"] = relative(mask_votes(*on_gpu.gaussians, gpu_camera, labels.cuda(), 14).cpu(), votes)
    return found


def render(scene: BenchScene, backend: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    device = scene.means.device
    camera = make_camera(320, 240, str(device))
    camera.camera_from_world.requires_grad_()
    names = ("means", "quats", "scales", "opacities", "colors", "features")
    leaves = {name: getattr(scene, name).clone().requires_grad_() for name in names}
    out = rasterize(
        *(leaves[name] for name in names[:4]),
        camera,
        colors=leaves["colors"],
        features=leaves["features"],
        depth=True,
        backend=backend,
    )
    images = {"color": out.color, "features": out.features, "depth": out.depth, "alpha": out.alpha}
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(image.shape, generator=generator).to(device) for image in images.values()]
    torch.autograd.backward(list(images.values()), weights)
    gradients = {name: leaf.grad for name, leaf in leaves.items()} | {"camera": camera.camera_from_world.grad}
    return {name: image.detach() for name, image in images.items()}, gradients


def training_memory(count: int) -> dict[str, float]:
    """Peak GPU memory of one render of 20 channels at 640x480 with all gradients, MB."""
    scene = make_scene(count).to("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    camera = make_camera(640, 480, "cuda")
    leaves = [tensor.clone().requires_grad_() for tensor in (*scene.gaussians, scene.colors, scene.features)]
    out = rasterize(*leaves[:4], camera, colors=leaves[4], features=leaves[5], depth=True, backend="gsplat")
    (out.color.sum() + out.features.sum() + out.depth.sum()).backward()
    return {"gaussians": count, "peak_mb": (torch.cuda.max_memory_allocated() - before) / 1e6}


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm().clamp_min(1e-30))


if __name__ == "__main__":
    sys.exit(main())
