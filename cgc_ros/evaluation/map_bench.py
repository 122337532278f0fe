"""Speed of the rasteriser on a map that was made from a recording: what `cgc bench raster --map` adds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from cgc_ros.evaluation.machine import now
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.rendering import Camera, Render, blend_weights, rasterize

MAX_VIEWS = 8  # keyframes, evenly chosen
ROUNDS = 3  # over these views
LATE_RATE = 0.05  # of learning, as of keyframes that have been trained for long
SCALES = (0.5, 1.0)  # of the keyframes' size, as training uses them


def measure_map(path: Path, backend: str) -> list[dict]:
    """One row for each scale, medians over the views: forward and backward of colour and depth with all gradients,
    the mapper's training step at its late rates, and a label image.
    """
    mapper = Mapper.load(path, MapperConfig(backend=backend))
    keyframes = list(mapper.keyframes)
    keyframes = keyframes[:: max(1, len(keyframes) // MAX_VIEWS)][:MAX_VIEWS]
    model, snapshot = mapper.model, mapper.snapshot()
    means, quats, scales, opacities = (each.detach().clone().requires_grad_() for each in model.geometry)
    gaussians = (means, quats, scales, opacities)
    harmonics = model.sh.detach().clone().requires_grad_()
    rows = []
    for scale in SCALES:
        cameras = [keyframe.camera(scale, mapper.device) for keyframe in keyframes]
        renders: list[Render] = []

        def forward(view: int, cameras: list[Camera] = cameras, renders: list = renders) -> None:
            renders.append(
                rasterize(
                    *gaussians, cameras[view], colors=harmonics, sh_degree=model.sh_degree, depth=True, backend=backend
                )
            )

        def backward(view: int, renders: list = renders) -> None:
            render = renders.pop()
            torch.autograd.backward([render.color, render.depth], [render.color.detach(), render.depth.detach()])

        def train(view: int, scale: float = scale) -> None:
            mapper.trainer.step(keyframes[view], scale, mapper.scene_depth, LATE_RATE)

        def label(view: int, cameras: list[Camera] = cameras) -> None:
            snapshot.segment(cameras[view])

        calls = (forward, backward, train, label)
        forward_ms, backward_ms, train_ms, label_ms = _alternate(calls, len(cameras), mapper.device)
        blends = statistics.median(
            blend_weights(*gaussians, camera, None, backend=backend).values.numel() for camera in cameras
        )
        rows.append(
            {
                "map": Path(path).name,
                "gaussians": len(model),
                "size": f"{cameras[0].width}x{cameras[0].height}",
                "blends_per_pixel": blends / (cameras[0].width * cameras[0].height),
                "forward_ms": forward_ms,
                "backward_ms": backward_ms,
                "train_step_ms": train_ms,
                "label_view_ms": label_ms,
            }
        )
    return rows


def _alternate(calls: tuple[Callable[[int], None], ...], views: int, device: torch.device) -> list[float]:
    """Wall time of each call, milliseconds, in turn for every view: the median over views and rounds, the first
    round left out.
    """
    times: list[list[float]] = [[] for _ in calls]
    for turn in range((ROUNDS + 1) * views):
        for call, found in zip(calls, times, strict=True):
            start, _ = now(device)
            call(turn % views)
            end, _ = now(device)
            if turn >= views:
                found.append(1e3 * (end - start))
    return [statistics.median(found) for found in times]
