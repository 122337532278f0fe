"""The product's own programs and rooms, run as users run them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from cgc_ros.evaluation.machine import now
from cgc_ros.mapping import MapperConfig, MappingSession, create_mapper
from cgc_ros.rendering import device_of
from cgc_ros.sequences import open_sequence
from cgc_ros.stereo.matcher import StereoView
from cgc_ros.stereo.partners import choose_partners
from cgc_ros.stereo.plane_sweep import stereo_depth

ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "demo" / "tabletop"
TESTS = ("test_rendering_backends.py", "test_rendering_gsplat.py", "test_mapping_training.py")
QUICK = "gsplat_python and (hard or none)"


def tests(backend: str) -> dict:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    command += ["-k", QUICK] if backend == "cpu" else []
    done = subprocess.run(
        [*command, *(str(ROOT / "test" / name) for name in TESTS)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2500:])
    return {"summary": done.stdout.strip().rpartition("\n")[2]}


def stereo(backend: str) -> dict:
    """The same view matched on both devices."""
    sequence = open_sequence(RECORDING)
    frames = [sequence[index] for index in range(0, min(40, len(sequence)), 4)]
    views = [StereoView(frame.image, frame.intrinsics, frame.world_from_camera) for frame in frames]
    others = views[1:]
    sources = [others[index] for index in choose_partners(views[0], others, 3)]
    depths, seconds = [], []
    for device in ("cpu", device_of(backend).type):
        image = torch.from_numpy(views[0].image).to(device)
        reference = StereoView(image, views[0].intrinsics, views[0].world_from_camera)
        stereo_depth(reference, sources)
        start, _ = now(torch.device(device))
        found = stereo_depth(reference, sources)
        seconds.append(now(torch.device(device))[0] - start)
        depths.append(found.depth.cpu())
    both = (depths[0] > 0) & (depths[1] > 0)
    apart = ((depths[0] - depths[1]).abs() > 0.01 * depths[0])[both].double().mean().item()
    if not apart <= 0.02 or both.sum() < 1000:
        raise SystemExit(f"of {int(both.sum())} depths that both found, {apart:.1%} differ by more than 1%")
    return {"cpu_ms": 1e3 * seconds[0], "device_ms": 1e3 * seconds[1], "share_apart": apart}


def map_and_eval(backend: str) -> dict:
    """On a CPU, where scoring takes a minute, a map of ten seconds and no score."""
    budget = "60" if backend == "gsplat" else "10"
    figures = _cgc("map", RECORDING, "--out", "run", "--backend", backend, "--budget", budget, "--json")
    if figures["faults"]:
        raise SystemExit(f"faults while mapping: {figures['faults']}")
    found = {name: figures[name] for name in ("steps_per_second", "num_gaussians", "label_latency_ms_p95")}
    if backend != "gsplat":
        return found
    scores = _cgc("eval", "run", RECORDING, "--backend", backend, "--json")
    return found | {name: scores[name] for name in ("psnr", "scene_miou") if isinstance(scores.get(name), float)}


def paper(backend: str) -> dict:
    arguments = ("--recipe", "paper", "--budget", "20", "--set", "paper.iterations=1000")
    figures = _cgc("map", RECORDING, "--out", "paper", "--backend", backend, *arguments, "--json")
    return {"minutes_of_30000_steps": 30_000 / figures["steps_per_second"] / 60, "steps": figures["steps"]}


def node(backend: str) -> dict:
    if importlib.util.find_spec("rclpy") is None:
        return {"skipped": "there is no ROS here"}
    _call("demo", "--measure", "20", "--masks", "graph", "--out", "demo")
    figures = json.loads(Path("demo/node.json").read_text())
    return figures | {"images_used_hz": figures["frames_used"] / 20}


def sam(backend: str) -> dict:
    """Every mask is kept, however the random model rates it."""
    missing = [name for name in ("segment_anything", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        return {"skipped": f"{' and '.join(missing)} not installed"}
    sys.path.insert(0, str(ROOT / "test"))
    from test_masks_sam import tiny_sam
    from torchvision_stand_in import working_torchvision

    with working_torchvision():
        from segment_anything import sam_model_registry

        from cgc_ros.masks.sam import SamMaskSource, SamOptions

        full = backend == "gsplat"
        model = sam_model_registry["vit_b"]() if full else tiny_sam()
        options = SamOptions(
            device=device_of(backend).type,
            points_per_side=32 if full else 2,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
        )
        source = SamMaskSource(options, model=model)
        size = (720, 1280) if full else (360, 640)
        image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        source.segment(image)
        start = time.perf_counter()
        labels = source.segment(image)
        seconds = time.perf_counter() - start
    if labels.shape[-2:] != size:
        raise SystemExit(f"labels are {labels.shape}")
    return {"segment_ms": 1e3 * seconds}


def memory(backend: str) -> dict:
    """GPU memory is limited to what a running map holds; the session relieves it and goes on."""
    sequence = open_sequence(RECORDING)
    session = MappingSession(create_mapper(MapperConfig(backend=backend)))
    session.start()
    try:
        for index in range(8):
            session.submit(sequence[index])
        _wait_for(lambda: session.status().steps > 50)
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_allocated() * 1.05 / total)
        _wait_for(lambda: "out_of_memory" in session.status().faults)
        torch.cuda.set_per_process_memory_fraction(1.0)
        before = session.status()
        _wait_for(lambda: session.status().steps > before.steps + 50)
    finally:
        session.stop()
    return {"gaussians_kept": before.gaussians}


def _wait_for(condition, seconds: float = 25.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:.0f} s in vain")
        time.sleep(0.02)


def _cgc(*arguments: object) -> dict:
    """What the command prints as JSON."""
    return json.loads(_call(*arguments))


def _call(*arguments: object) -> str:
    command = [sys.executable, "-m", "cgc_ros.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"cgc {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")
    return done.stdout
