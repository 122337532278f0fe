"""Writes a rendered folder as a rosbag2 (MCAP): a robot's camera, its frames and, for evaluation, the ground truth.

    PYTHONPATH=scripts python -m make_recording.write_recording build/tabletop demo/tabletop

Adds `masks/` and `object_points.npz` to the folder on the way, which makes it a complete sequence in the folder layout.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from make_recording import messages
from make_recording.camera_path import BASE_FROM_CAMERA_LINK, CAMERA_LINK_FROM_OPTICAL, FRAME_RATE, CameraPath
from make_recording.derived import read_png, write_masks, write_object_points
from make_recording.messages import OPTICAL_FRAME, Topic

TF_RATE = 20.0  # transforms a second, a multiple of FRAME_RATE: one falls on every image's stamp
IMAGE_DELAY_NS = 20_000_000  # images are recorded this much after their stamp, as a driver's are
JPEG_QUALITY = 88

COLOR = Topic("/camera/color/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = Topic("/camera/color/camera_info", "sensor_msgs/msg/CameraInfo")
DEPTH = Topic("/camera/aligned_depth_to_color/image_raw/compressedDepth", "sensor_msgs/msg/CompressedImage")
MASKS = Topic("/masks/compressed", "sensor_msgs/msg/CompressedImage")
INSTANCES = Topic("/truth/instances/compressed", "sensor_msgs/msg/CompressedImage")
LABELS = Topic("/truth/labels", "std_msgs/msg/String", latched=True)
OBJECT_POINTS = Topic("/truth/object_points", "sensor_msgs/msg/PointCloud2", latched=True)
TF = Topic("/tf", "tf2_msgs/msg/TFMessage")
TF_STATIC = Topic("/tf_static", "tf2_msgs/msg/TFMessage", latched=True)
TOPICS = (COLOR, CAMERA_INFO, DEPTH, MASKS, INSTANCES, LABELS, OBJECT_POINTS, TF, TF_STATIC)


@dataclass(frozen=True)
class Rendered:
    """A rendered folder's index: image names with their stamps, and the path they were taken along."""

    folder: Path
    stamps_ns: dict[str, int]
    path: CameraPath


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what make_recording.render wrote")
    parser.add_argument("recording", type=Path, help="the rosbag2 folder to make; must not exist")
    options = parser.parse_args()
    if options.recording.exists():
        parser.error(f"{options.recording} exists: move it away or name another")
    rendered = read_rendered(options.folder)
    write_masks(rendered.folder)
    points = write_object_points(
        rendered.folder,
        {name: rendered.path.map_from_optical(index / FRAME_RATE) for index, name in enumerate(rendered.stamps_ns)},
    )
    write_recording(rendered, points, options.recording)
    size = sum(f.stat().st_size for f in options.recording.iterdir())
    print(f"{options.recording}: {len(rendered.stamps_ns)} images, {size / 1e6:.2f} MB")


def read_rendered(folder: Path) -> Rendered:
    """Reads poses.csv and checks it against the camera path in the code. ValueError where they differ."""
    with (folder / "poses.csv").open() as file:
        rows = list(csv.DictReader(file))
    path = CameraPath(duration=len(rows) / FRAME_RATE)
    for index, row in enumerate(rows):
        expected = path.map_from_optical(index / FRAME_RATE)[:3, 3]
        if not np.allclose([float(row[k]) for k in ("tx", "ty", "tz")], expected, atol=1e-6):
            raise ValueError(
                f"{folder}/poses.csv, {row['image']}: not on the camera path of {len(rows)} frames. "
                "Frames are missing, or the path was changed since: finish the rendering or start it anew"
            )
    return Rendered(folder, {row["image"]: round(float(row["stamp"]) * 1e6) * 1000 for row in rows}, path)


def write_recording(rendered: Rendered, points: dict[int, np.ndarray], recording: Path) -> None:
    """Writes all messages in the order of their recording times."""
    timeline = [*_latched(rendered, points), *_transforms(rendered)]
    for name, stamp_ns in rendered.stamps_ns.items():
        timeline += [(stamp_ns + IMAGE_DELAY_NS, *message) for message in _frame(rendered.folder, name, stamp_ns)]
    timeline.sort(key=lambda entry: entry[0])  # stable: the order within one time is kept
    with Writer(recording, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(
                topic.name, topic.type, typestore=messages.TYPES, offered_qos_profiles=[topic.qos]
            )
            for topic in TOPICS
        }
        for time_ns, topic, message in timeline:
            writer.write(connections[topic], time_ns, messages.TYPES.serialize_cdr(message, topic.type))


def _latched(rendered: Rendered, points: dict[int, np.ndarray]) -> list[tuple]:
    start = min(rendered.stamps_ns.values())
    labels = json.loads((rendered.folder / "labels.json").read_text())
    fixed = [
        messages.transform(start, "base_link", "camera_link", BASE_FROM_CAMERA_LINK),
        messages.transform(start, "camera_link", OPTICAL_FRAME, CAMERA_LINK_FROM_OPTICAL),
    ]
    return [
        (start, TF_STATIC, messages.tf_message(fixed)),
        (start, LABELS, messages.string(json.dumps(labels))),
        (start, OBJECT_POINTS, messages.labelled_cloud(start, "map", points)),
    ]


def _transforms(rendered: Rendered) -> list[tuple]:
    start, end = min(rendered.stamps_ns.values()), max(rendered.stamps_ns.values())
    steps = round((end - start) * 1e-9 * TF_RATE)
    entries = []
    for step in range(steps + 1):
        stamp_ns = start + round(step * 1e9 / TF_RATE)
        pose = rendered.path.map_from_base(step / TF_RATE)
        entries.append((stamp_ns, TF, messages.tf_message([messages.transform(stamp_ns, "map", "base_link", pose)])))
    return entries


def _frame(folder: Path, name: str, stamp_ns: int) -> list[tuple]:
    intrinsics = json.loads((folder / "intrinsics.json").read_text())
    jpeg = _encode(
        ".jpg",
        read_png(folder / "images" / name),
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    )
    depth = _encode_png(read_png(folder / "depth" / name), cv2.IMWRITE_PNG_FILTER_PAETH)
    ids, masks = (
        _encode_png(read_png(folder / kind / name), cv2.IMWRITE_PNG_FILTER_NONE) for kind in ("instances", "masks")
    )
    return [
        (CAMERA_INFO, messages.camera_info(stamp_ns, intrinsics)),
        (COLOR, messages.compressed_image(stamp_ns, "rgb8; jpeg compressed bgr8", jpeg)),
        (DEPTH, messages.compressed_depth(stamp_ns, depth)),
        (MASKS, messages.compressed_image(stamp_ns, "16UC1; png compressed ", masks)),
        (INSTANCES, messages.compressed_image(stamp_ns, "16UC1; png compressed ", ids)),
    ]


def _encode_png(image: np.ndarray, row_filter: int) -> np.ndarray:
    return _encode(
        ".png",
        image,
        [
            cv2.IMWRITE_PNG_COMPRESSION,
            9,
            cv2.IMWRITE_PNG_STRATEGY,
            cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
            cv2.IMWRITE_PNG_FILTER,
            row_filter,
        ],
    )


def _encode(extension: str, image: np.ndarray, options: list[int]) -> np.ndarray:
    encoded, data = cv2.imencode(extension, image, options)
    if not encoded:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape}, {image.dtype} as {extension}")
    return data.ravel()


if __name__ == "__main__":
    main()
