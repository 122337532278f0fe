#!/usr/bin/env python3
"""What objects cost at the size of a cluttered room: seconds per new keyframe, and the longest pause."""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time

import numpy as np

from cgc_ros.evaluation.vote_scene import VoteScene
from cgc_ros.segmentation import ObjectLayer


def main() -> None:
    """Feed keyframes one by one, update after every few, and print what the last ones took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=600)
    parser.add_argument("--keyframes", type=int, default=150)
    parser.add_argument("--visible", type=int, default=72, help="objects that a keyframe sees")
    parser.add_argument("--gaussians", type=int, default=240_000, help="on all objects, seen or not")
    parser.add_argument("--news", type=int, default=5, help="keyframes between two updates")
    parser.add_argument("--measured", type=int, default=30, help="keyframes at the end that are measured")
    parser.add_argument("--profile", action="store_true", help="print where the time of the measured ones goes")
    arguments = parser.parse_args()
    scene = VoteScene(arguments.objects, arguments.gaussians)
    views = [scene.view(k, arguments.visible) for k in range(arguments.keyframes)]
    living = np.unique(np.concatenate([votes.uids for votes in views]))  # a map has what keyframes saw
    means = scene.means[living]
    layer = ObjectLayer(min_gaussians=8)
    first = arguments.keyframes - arguments.measured
    for votes in views[:first]:
        layer.set_votes(votes)
    layer.update(living, means, arguments.objects**0.5)
    pieces: list[float] = []
    profile = cProfile.Profile(time.thread_time)
    for start in range(first, len(views), arguments.news):
        for votes in views[start : start + arguments.news]:
            layer.set_votes(votes)
        if arguments.profile:
            profile.enable()
        pieces += timed_update(layer, living, means, arguments.objects**0.5)
        profile.disable()
    if arguments.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    truth = np.unique(scene.truth[living], return_inverse=True)[1]
    print(
        json.dumps(
            {
                "masks": sum(votes.num_masks for votes in views),
                "ms_per_keyframe": 1000 * sum(pieces) / max(arguments.measured, 1),
                "longest_pause_ms": 1000 * max(pieces, default=0.0),
                "objects": len(layer.state.records),
                "objects_seen": int(truth.max()) + 1,
                "miou": mean_iou(layer.state.ids_of(living), truth),
            }
        )
    )


def timed_update(layer: ObjectLayer, uids: np.ndarray, means: np.ndarray, depth: float) -> list[float]:
    """Seconds of this thread that each piece of one update takes."""
    pieces, seconds = layer.pieces(uids, means, depth), []
    while True:
        start = time.thread_time()
        try:
            next(pieces)
        except StopIteration as done:
            layer.publish(done.value, means)
            return seconds
        finally:
            seconds.append(time.thread_time() - start)


def mean_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over true objects of the IoU with the object found that fits best."""
    count = int(found.max()) + 1
    shared = np.zeros((int(truth.max()) + 1, max(count, 1)))
    np.add.at(shared, (truth[found >= 0], found[found >= 0]), 1)
    sizes, others = np.bincount(truth), np.bincount(found[found >= 0], minlength=shared.shape[1])
    return float((shared / (sizes[:, None] + others[None] - shared)).max(axis=1).mean())


if __name__ == "__main__":
    main()
