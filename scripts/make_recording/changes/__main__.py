"""Write a recording of changes as a folder: `PYTHONPATH=scripts python -m make_recording.changes OUT --seed 3`."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from make_recording.changes.acts import Change, play
from make_recording.changes.ray_cast import Camera, Light, cast
from make_recording.changes.stage import room
from make_recording.corrupt_masks import Corruption, corrupt_masks
from make_recording.derived import write_object_points

RATE_HZ = 5.0


def main() -> None:
    arguments = _arguments()
    width, height = (int(each) for each in arguments.size.split("x"))
    out: Path = arguments.out
    for folder in ("images", "depth", "masks", "instances"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    script = play(arguments.seed, arguments.things, arguments.acts)
    background = room(arguments.seed)
    rows, events, held_out, names = [], [], [], {}
    total = arguments.frames * arguments.acts
    for index in range(total):
        act = index // arguments.frames
        if index % arguments.frames == 0 and act:
            events += [_event(change, index) for change in script[act].changes]
        rng = np.random.default_rng([arguments.seed, 5, index])
        light = Light()
        if arguments.light:
            light = Light(strength=0.45 + 0.25 * np.sin(0.13 * index), ambient=0.36 + 0.12 * np.cos(0.09 * index))
        camera = Camera(width, height, 0.9 * width, _pose(index, total, arguments.seed, arguments.still))
        things = [*background, *script[act].things]
        if arguments.screen:  # one thing plays: its paint moves
            things = [replace(each, phase=0.4 * index if each.id == 2 else 0.0) for each in things]
        view = cast(things, camera, light, rng)
        stem = f"{index:04d}"
        image = out / "images" / f"{stem}.{arguments.format}"
        cv2.imwrite(str(image), view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        noise = arguments.depth_noise * view.depth**2 * rng.standard_normal(view.depth.shape)
        cv2.imwrite(
            str(out / f"depth/{stem}.png"), (1000 * (view.depth + noise)).round().clip(0, 65535).astype(np.uint16)
        )
        cv2.imwrite(str(out / f"instances/{stem}.png"), view.ids.astype(np.uint16))
        corruption = Corruption(border=width / 320, min_area=max(20, width * height // 5000))
        cv2.imwrite(str(out / f"masks/{stem}.png"), corrupt_masks(view.ids, rng, corruption))
        pose = camera.world_from_camera
        rows.append([f"{index / RATE_HZ:.3f}", *map(repr, pose[:3, 3].tolist())])
        rows[-1] += [*map(repr, Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()), image.name]
        if act == arguments.acts - 1:
            names[f"{stem}.png"] = pose
            if index % 4 == 3:
                held_out.append(image.name)
    labels = {each.id: each for act in script for each in [*background, *act.things]}
    shown = {str(key): {"name": each.name, "kind": each.kind} for key, each in sorted(labels.items())}
    (out / "labels.json").write_text(json.dumps(shown))
    camera_file = {"width": width, "height": height, "fx": 0.9 * width, "fy": 0.9 * width}
    camera_file |= {"cx": (width - 1) / 2, "cy": (height - 1) / 2, "metric_scale": True}
    (out / "intrinsics.json").write_text(json.dumps(camera_file))
    (out / "events.json").write_text(json.dumps(events, indent=1))
    (out / "heldout.txt").write_text("".join(f"{name}\n" for name in held_out))
    write_object_points(out, names)
    with open(out / "poses.csv", "w", newline="") as file:
        csv.writer(file).writerows([["stamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw", "image"], *rows])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--acts", type=int, default=3)
    parser.add_argument("--frames", type=int, default=24, help="per act")
    parser.add_argument("--things", type=int, default=10, help="at first")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--format", default="jpg", choices=["jpg", "png"])
    parser.add_argument("--depth-noise", type=float, default=0.0015, help="standard deviation at 1 m, metres")
    parser.add_argument("--light", action="store_true", help="that changes")
    parser.add_argument("--screen", action="store_true", help="a thing whose paint moves")
    parser.add_argument("--still", action="store_true", help="a camera that stands still")
    return parser.parse_args()


def _event(change: Change, index: int) -> dict:
    places = {"from": change.source, "to": change.target}
    written = {key: None if place is None else place.tolist() for key, place in places.items()}
    return {
        "frame": index,
        "stamp": index / RATE_HZ,
        "id": change.id,
        "name": change.name,
        "kind": change.kind,
    } | written


def _pose(index: int, total: int, seed: int, still: bool) -> np.ndarray:
    """World from camera: a hand-held arc around the table, to and fro."""
    rng = np.random.default_rng([seed, 7])
    t = 0.0 if still else index / 24
    angle = rng.uniform(0, 2 * np.pi) + 1.5 * np.sin(1.1 * t) + 0.9 * t
    radius = 1.12 + 0.12 * np.sin(2.3 * t + 1)
    position = np.array([radius * np.cos(angle), radius * np.sin(angle), 0.72 + 0.14 * np.sin(1.7 * t)])
    target = np.array([0.08 * np.sin(3.1 * t), 0.06 * np.cos(2.1 * t), 0.03])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.03 * np.sin(5 * t), 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, position
    return pose


if __name__ == "__main__":
    main()
