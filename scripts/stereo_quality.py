"""How good stereo depth is on recordings: coverage, error against truth where there is some, and between views.

    .venv/bin/python scripts/stereo_quality.py RECORDING... --references 12

Every frame is a keyframe without depth; some of them, evenly spread, are matched with the partners that `DepthSource`
would give them, without a map to ask. Truth is the recording's own depth, or images of its folder `truth_depth/`.
Between views, each point is looked up in the depth of the nearest other references: `agree` within 10%, `seen through`
where the other view's surface lies more than 10% behind it, which is what becomes a floater.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from cgc_ros.evaluation.machine import describe_machine
from cgc_ros.evaluation.mapping_run import held_in
from cgc_ros.frame import Intrinsics
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.depth_source import DepthSource
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.sequences import Sequence, open_sequence
from cgc_ros.stereo.config import StereoConfig

OUTLIER = 0.1  # relative error
NEIGHBOURS = 4  # other references that a reference's points are looked up in


@dataclass
class View:
    """One reference, its depth as found, and its depth in truth where known, [H, W], 0 = none."""

    intrinsics: Intrinsics
    world_from_camera: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    truth: np.ndarray | None
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--references", type=int, default=12, help="keyframes that are matched, evenly spread")
    parser.add_argument("--sure", type=float, default=0.6, help="confidence from which a pixel counts as confident")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a field of StereoConfig")
    parser.add_argument("--save", type=Path, help="folder for depth as found and as it is, as pictures")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = dict(option.split("=", 1) for option in arguments.set)
    config = StereoConfig(**{name: json.loads(value) for name, value in options.items()})
    rows = {}
    for path in arguments.recordings:
        views = match(open_sequence(path), path, config, arguments.references)
        rows[path.name] = row = quality(views, arguments.sure)
        print(f"{path.name:18s}" + " ".join(f"{name}={value:.4g}" for name, value in row.items()), flush=True)
        if arguments.save:
            save(views, arguments.save / path.name)
    if arguments.json:
        report = {"machine": describe_machine(), "recordings": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def match(sequence: Sequence, path: Path, config: StereoConfig, references: int) -> list[View]:
    """The references of a recording, matched."""
    mapper = MapperConfig()
    store, files = KeyframeStore(replace(mapper.keyframes, max_keyframes=10_000), mapper.training), held_in(sequence)
    truths = {}
    for index in files:
        frame = sequence[index]
        truth = path / "truth_depth" / f"{frame.name}.png"
        depth = frame.depth
        if depth is None and truth.exists():
            depth = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        keyframe = store.add(replace(frame, depth=None, masks=None), 0.0)
        truths[keyframe.id] = depth
    source, keyframes, views = DepthSource(torch.device("cpu"), stereo=config), list(store), []
    for index in np.unique(np.linspace(0, len(keyframes) - 1, references).round().astype(int)):
        keyframe = keyframes[index]
        started = time.process_time()
        result = source.match(keyframe, store)
        seconds = time.process_time() - started
        if result is None:
            empty = np.zeros(keyframe.image.shape[:2], np.float32)
            depth, confidence = empty, empty
        else:
            depth, confidence = result.depth.numpy(), result.confidence.numpy()
        views.append(
            View(keyframe.intrinsics, keyframe.world_from_camera, depth, confidence, truths[keyframe.id], seconds)
        )
    return views


def quality(views: list[View], sure: float) -> dict[str, float]:
    """Shares in percent, of pixels over all references; `near` are outliers before the true surface."""
    row = {"covered": 100 * float(np.mean([(view.depth > 0).mean() for view in views]))}
    row["sure"] = 100 * float(np.mean([(view.confidence >= sure).mean() for view in views]))
    errors, confident = [], []
    for view in views:
        if view.truth is not None:
            both = (view.depth > 0) & (view.truth > 0)
            errors.append(view.depth[both] / view.truth[both] - 1.0)
            confident.append(view.confidence[both] >= sure)
    if errors and sum(map(len, errors)):
        error, is_sure = np.concatenate(errors), np.concatenate(confident)
        row["median"] = 100 * float(np.median(np.abs(error)))
        for name, of in (("", error), ("sure_", error[is_sure])):
            row[f"{name}outliers"] = 100 * float((np.abs(of) > OUTLIER).mean()) if len(of) else 0.0
            row[f"{name}near"] = 100 * float((of < -OUTLIER).mean()) if len(of) else 0.0
    row |= between_views(views)
    row["seconds"] = float(np.mean([view.seconds for view in views]))
    return row


def between_views(views: list[View]) -> dict[str, float]:
    """Of the points that others have depth at: the share within 10%, and the share that others see through."""
    agree, through = [], []
    places = np.stack([view.world_from_camera[:3, 3] for view in views])
    for view in views:
        rows, columns = np.nonzero(view.depth > 0)
        z, k = view.depth[rows, columns], view.intrinsics
        points = np.stack(((columns - k.cx) / k.fx * z, (rows - k.cy) / k.fy * z, z, np.ones_like(z)))
        nearest = np.argsort(np.linalg.norm(places - view.world_from_camera[:3, 3], axis=1))[1 : 1 + NEIGHBOURS]
        for other in (views[index] for index in nearest):
            x, y, depth = (np.linalg.inv(other.world_from_camera) @ view.world_from_camera @ points)[:3]
            k = other.intrinsics
            ahead = depth > 1e-9
            u = np.round(k.fx * x[ahead] / depth[ahead] + k.cx)
            v = np.round(k.fy * y[ahead] / depth[ahead] + k.cy)
            inside = (u >= 0) & (u < k.width) & (v >= 0) & (v < k.height)
            there = other.depth[v[inside].astype(int), u[inside].astype(int)]
            ratio = depth[ahead][inside][there > 0] / there[there > 0]
            agree.append(np.abs(ratio - 1.0) <= OUTLIER)
            through.append(ratio < 1.0 - OUTLIER)
    return {
        "agree": 100 * float(np.concatenate(agree).mean()) if agree else 0.0,
        "seen_through": 100 * float(np.concatenate(through).mean()) if through else 0.0,
    }


def save(views: list[View], folder: Path) -> None:
    """Inverse depth as pictures, beside truth's."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, view in enumerate(views):
        known = [image for image in (view.truth, view.depth) if image is not None and (image > 0).any()]
        if not known:
            continue
        nearest = np.percentile(1.0 / known[0][known[0] > 0], 98)
        pictures = []
        for depth in (view.depth, view.truth):
            if depth is not None:
                shade = np.divide(255.0 / nearest, depth, out=np.zeros_like(depth), where=depth > 0).clip(0, 255)
                pictures.append(cv2.applyColorMap(shade.astype(np.uint8), cv2.COLORMAP_TURBO) * (depth > 0)[..., None])
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.hstack(pictures))


if __name__ == "__main__":
    main()
