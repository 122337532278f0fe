"""Fit the weights of the graph source's borders on recordings with ground truth; prints them as merging.py has them.

python -m mask_weights.fit demo/tabletop --every 7

Regions are merged by the weights so far, and every border that comes up on the way is a sample: "different objects" is
the truth where both regions lie mostly in one object each. New weights are fitted on the samples of all rounds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cgc_ros.masks.graph import GraphMaskOptions
from cgc_ros.masks.merging import COLOR_EVIDENCE, EVIDENCE, evidence, merge_regions
from cgc_ros.masks.pixel_cues import cut_into_superpixels, measure
from cgc_ros.masks.region_graph import RegionGraph, build_region_graph
from mask_weights.images import TrueImage, true_images

PURITY = 0.75  # share of a region that one object must hold for its borders to be samples
SAMPLES = 600  # borders a merging round
#: What the first round merges by: enough to get near the regions that matter.
START = {"bias": -4.0, "histogram": 2.0, "gradient": 2.0, "contrast": 1.5, "shared": -2.0, "step": 4.0, "bend": 3.0}


@dataclass(frozen=True)
class Prepared:
    graph: RegionGraph
    truth: np.ndarray  # [superpixels, ids] pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--every", type=int, default=7, help="take every n-th image")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for title, depths, names in (("COLOR", ("off",), COLOR_EVIDENCE), ("DEPTH", ("given", "degraded"), EVIDENCE)):
        sets = [[prepare(i) for i in true_images(r, d, arguments.every)] for r in arguments.recordings for d in depths]
        weights = fit([images for images in sets if images], names, arguments.rounds)
        print(f"{title}_WEIGHTS = {{")
        print("".join(f'    "{name}": {value:.2f},\n' for name, value in weights.items()) + "}", flush=True)


def prepare(image: TrueImage) -> Prepared:
    options = GraphMaskOptions()
    cues = measure(image.image, image.depth, options.long_side)
    superpixels = cut_into_superpixels(cues, options.superpixel_spacing)
    size = superpixels.shape[::-1]
    truth = cv2.resize(image.truth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(int)
    pixels = np.zeros((superpixels.max() + 1, truth.max() + 1))
    np.add.at(pixels, (superpixels.ravel(), truth.ravel()), 1)
    return Prepared(build_region_graph(cues, superpixels), pixels)


def fit(sets: list[list[Prepared]], names: tuple[str, ...], rounds: int) -> dict[str, float]:
    """Weights by name; every set of images counts alike."""
    rng = np.random.default_rng(0)
    weights = {name: START.get(name, 0.0) for name in ("bias", *names)}
    samples = []
    for number in range(rounds):
        for images in sets:
            found = [collect(image, weights, names, 0.0 if number == 0 else 0.7, rng) for image in images]
            columns, differ, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
            samples.append((columns, differ, weight / weight.sum()))
        columns, differ, weight = (np.concatenate(parts) for parts in zip(*samples, strict=True))
        scaler = StandardScaler().fit(columns)
        model = LogisticRegression(max_iter=500)
        model.fit(scaler.transform(columns), differ, sample_weight=weight / weight.mean())
        slopes = model.coef_[0] / scaler.scale_
        bias = model.intercept_[0] - (slopes * scaler.mean_).sum()
        weights = {"bias": float(bias), **dict(zip(names, slopes.tolist(), strict=True))}
    return weights


def collect(
    image: Prepared, weights: dict[str, float], names: tuple[str, ...], threshold: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence [S, E], whether the two sides differ [S], and a weight [S] that grows with the smaller side."""
    slopes = np.array([weights[name] for name in names])
    found = []

    def observe(graph: RegionGraph, which: np.ndarray, region_of: np.ndarray) -> None:
        pixels = np.zeros((len(graph.regions), image.truth.shape[1]))
        np.add.at(pixels, region_of, image.truth)
        owner, purity = pixels.argmax(axis=1), pixels.max(axis=1) / pixels.sum(axis=1)
        first, second = graph.pairs[which].T
        clear = (purity[first] > PURITY) & (purity[second] > PURITY) & ((owner[first] > 0) | (owner[second] > 0))
        which = which[clear]
        if len(which) > SAMPLES:
            which = rng.choice(which, SAMPLES, replace=False)
        if len(which):
            first, second = graph.pairs[which].T
            smaller = np.minimum(graph.regions.area[first], graph.regions.area[second])
            found.append((evidence(graph, which), owner[first] != owner[second], np.sqrt(smaller)))

    merge_regions(
        image.graph, (threshold,), lambda graph, which: weights["bias"] + evidence(graph, which) @ slopes, observe
    )
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


if __name__ == "__main__":
    main()
