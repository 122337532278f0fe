"""Masks of single images against the truth: the mean over objects and images of the IoU of the mask that fits best.

python -m mask_weights.score demo/tabletop --depth given degraded off
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from cgc_ros.masks import create_mask_source
from mask_weights.images import DEPTHS, best_ious, true_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--depth", nargs="+", choices=DEPTHS, default=["given"])
    parser.add_argument("--every", type=int, default=4, help="take every n-th image")
    parser.add_argument("--option", nargs="*", default=[], metavar="NAME=VALUE", help="options of the graph source")
    parser.add_argument("--pictures", type=Path, help="write overlays into this folder")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    source = create_mask_source(
        "graph", **{name: float(value) for name, value in (o.split("=") for o in arguments.option)}
    )
    print("| recording | depth | mean best IoU | above 0.5 | masks an image | seconds an image |")
    print("|---|---|---|---|---|---|")
    for recording in arguments.recordings:
        for depth in arguments.depth:
            ious, counts, seconds = [], [], []
            for image in true_images(recording, depth, arguments.every):
                started = time.perf_counter()
                labels = source.segment(image.image, depth=image.depth)[0]
                seconds.append(time.perf_counter() - started)
                ious += best_ious(labels, image).values()
                counts.append(labels.max())
                if arguments.pictures:
                    name = f"{Path(recording).name}_{depth}_{image.name}.png"
                    cv2.imwrite(str(arguments.pictures / name), _overlay(image.image, labels)[..., ::-1])
            if ious:
                row = f"{np.mean(ious):.3f} | {np.mean(np.array(ious) > 0.5):.2f} | {np.mean(counts):.0f}"
                print(f"| {Path(recording).name} | {depth} | {row} | {np.median(seconds):.2f} |", flush=True)


def _overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    colors = np.random.default_rng(1).integers(30, 255, (labels.max() + 1, 3))
    colors[0] = 0
    mixed = (0.45 * image + 0.55 * colors[labels]).astype(np.uint8)
    mixed[cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0] = 255
    return mixed


if __name__ == "__main__":
    main()
