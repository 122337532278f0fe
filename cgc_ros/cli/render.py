"""`cgc render`: colour, depth and label image of any view of a map."""

from __future__ import annotations

import argparse
import difflib
import re
from dataclasses import replace
from pathlib import Path

from cgc_ros.cli.console import add_backend, add_json, numbers, positive, print_json
from cgc_ros.cli.recordings import add_reader_options, open_recording

_DESCRIPTION = """\
Render a map from a pose, or from a frame of a recording. Writes color.png, depth.png (16 bit, millimetres, 0 unknown),
labels.png (16 bit object ids, 65535 unlabelled) and overlay.png.
"""


class ViewError(ValueError):
    """A view that cannot be rendered; the message names the value and the remedy."""


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "render",
        help="render any view of a map",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="folder that `cgc map` wrote, or a saved map")
    view = parser.add_mutually_exclusive_group(required=True)
    view.add_argument(
        "--pose",
        type=numbers(7, "tx,ty,tz,qx,qy,qz,qw"),
        metavar="TX,TY,TZ,QX,QY,QZ,QW",
        help="camera in the map frame: metres, quaternion; optical frame (x right, y down, z forward)",
    )
    view.add_argument(
        "--frame",
        nargs=2,
        metavar=("SEQ", "NAME"),
        help="pose and intrinsics of a recording's frame, by its image name",
    )
    parser.add_argument("--out", metavar="DIR2", type=Path, help="folder to write to (default: DIR/render)")
    camera = parser.add_argument_group("camera (default: that of the frame, else that of the map's newest keyframe)")
    camera.add_argument(
        "--size", type=_size, metavar="WxH", help="pixels; the field of view stays, unless it is given too"
    )
    camera.add_argument("--fov", type=positive, metavar="DEGREES", help="horizontal field of view")
    camera.add_argument(
        "--intrinsics",
        type=numbers(4, "fx,fy,cx,cy"),
        metavar="FX,FY,CX,CY",
        help="pixels of --size; the centre of the first pixel is at (0, 0)",
    )
    add_backend(parser)
    add_reader_options(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render the view and write its images."""
    from cgc_ros.evaluation.figures import read_metrics
    from cgc_ros.evaluation.view_images import depth_millimetres, write_png
    from cgc_ros.frame import IGNORED, UNLABELLED
    from cgc_ros.mapping.saved_map import open_map
    from cgc_ros.palette import overlay_picture
    from cgc_ros.rendering import Camera

    mapper = open_map(arguments.run_dir, arguments.backend)
    if arguments.frame:
        recording, index = arguments.frame
        metrics = read_metrics(arguments.run_dir) if arguments.run_dir.is_dir() else {}
        frame = find_frame(recording, index, arguments.read, mapper.origin, metrics)
        world_from_camera, intrinsics, stamp_ns = frame.world_from_camera, frame.intrinsics, frame.stamp_ns
    else:
        newest = mapper.keyframes.newest()
        world_from_camera, intrinsics = pose_matrix(arguments.pose), None if newest is None else newest.intrinsics
        world_from_camera[:3, 3] -= mapper.origin
        stamp_ns = None  # a pose of nobody's time: in no exposure
    snapshot = mapper.snapshot()
    camera = Camera.from_intrinsics(choose_intrinsics(intrinsics, arguments), world_from_camera, snapshot.model.device)
    view, labels = snapshot.render(camera, stamp_ns), snapshot.segment(camera)

    out = arguments.out or (arguments.run_dir if arguments.run_dir.is_dir() else arguments.run_dir.parent) / "render"
    out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "color": view.color,
        "depth": depth_millimetres(view.depth),
        "labels": labels,
        "overlay": overlay_picture(view.color, labels),
    }
    files = {name: out / f"{name}.png" for name in pictures}
    for name, picture in pictures.items():
        write_png(files[name], picture)
    ids = sorted({int(object_id) for object_id in labels.ravel().tolist()} - {UNLABELLED, IGNORED})
    if arguments.json:
        print_json({"files": {name: str(path) for name, path in files.items()}, "object_ids": ids})
    else:
        print(f"{out}/{{color,depth,labels,overlay}}.png: {camera.width}x{camera.height}, {len(ids)} objects in view")
    return 0


def pose_matrix(values: tuple[float, ...]):
    """World from camera, [4, 4], of tx, ty, tz, qx, qy, qz, qw; ViewError where the quaternion is no rotation."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    length = float(np.linalg.norm(values[3:]))
    if not 0.9 < length < 1.1:
        raise ViewError(
            f"--pose: the quaternion {values[3:]} has length {length:.3f}, wanted 1: the order is qx,qy,qz,qw"
        )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(values[3:]).as_matrix(), values[:3]
    return pose


def find_frame(sequence_path: str, name: str, reader_options: list[str], origin, metrics: dict):
    """The frame of a recording by image name, with or without suffix, about a map's origin and calibrated as `metrics`
    say it was mapped; ViewError names the nearest names.
    """
    from cgc_ros.evaluation.recalibrated import recalibrate_as_mapped

    sequence = open_recording(sequence_path, reader_options)
    sequence.recentre(origin)
    recalibrate_as_mapped(sequence, metrics)
    names = [info.name for info in sequence.frames]
    for wanted in (name, str(Path(name).with_suffix(""))):
        if wanted in names:
            return sequence[names.index(wanted)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    raise ViewError(f"{sequence.name} has no frame {name!r} among its {len(names)}: near it are {', '.join(near)}")


def choose_intrinsics(base, arguments: argparse.Namespace):
    """Intrinsics from the options, what they leave open from `base` (of a frame, may be None)."""
    import math

    from cgc_ros.frame import Intrinsics

    if arguments.intrinsics:
        if not arguments.size:
            raise ViewError("--intrinsics are in pixels of an image size: give --size WxH with them")
        fx, fy, cx, cy = arguments.intrinsics
        if min(fx, fy) <= 0:
            raise ViewError(f"--intrinsics: focal lengths must be positive, got fx={fx:g}, fy={fy:g}")
        width, height = arguments.size
        return Intrinsics(width, height, fx, fy, cx, cy)
    width, height = arguments.size or ((base.width, base.height) if base else (640, 480))
    if arguments.fov or base is None:
        fov = arguments.fov or 60.0
        if fov >= 179:
            raise ViewError(f"--fov {fov:g}: a pinhole camera sees less than 179 degrees")
        focal = 0.5 * width / math.tan(math.radians(fov) / 2)
        return Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    return replace(base, distortion_model="none", distortion=()).scaled_to(width, height)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not match or not all(0 < int(side) <= 16384 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WxH, e.g. 640x480")
    return int(match[1]), int(match[2])
