"""Recorded posed frames, whatever their format: `open_sequence(path)`."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from cgc_ros.robot.layout import DEFAULT_PADDING, FOLDER, has_robot
from cgc_ros.sequences import (
    arkit_scenes,
    bag,
    colmap,
    folder,
    icl_nuim,
    kitti,
    nerfstudio,
    polycam,
    record3d,
    replica,
    scannet,
    seven_scenes,
    tum,
)
from cgc_ros.sequences.base import GroundTruth, Sequence, SequenceError, TrueEvent

if TYPE_CHECKING:
    from cgc_ros.robot.recorded import RecordedRobot

__all__ = ["GroundTruth", "Sequence", "SequenceError", "TrueEvent", "open_sequence"]


class Reader(NamedTuple):
    """A module with `recognises(path) -> bool` and `read(path, **options) -> Sequence`, and what it recognises."""

    module: ModuleType
    layout: str


#: The first that recognises a path reads it: the most specific come first.
READERS = {
    "folder": Reader(folder, "poses.csv, images/ and intrinsics.json"),
    "bag": Reader(bag, "a rosbag2 folder, an .mcap or .db3 file, or a ROS 1 .bag"),
    "nerfstudio": Reader(nerfstudio, "transforms.json"),
    "icl_nuim": Reader(icl_nuim, "a *.gt.freiburg file and rgb/"),
    "tum": Reader(tum, "groundtruth.txt with rgb.txt or rgb/"),
    "seven_scenes": Reader(seven_scenes, "frame-*.color.* with frame-*.pose.txt"),
    "scannet": Reader(scannet, "color/ (or rgb/) and pose/ of text files"),
    "replica": Reader(replica, "traj.txt and results/"),
    "polycam": Reader(polycam, "keyframes/ with cameras/ and images/"),
    "record3d": Reader(record3d, "metadata.json with rgb/, or metadata with rgbd/"),
    "arkit_scenes": Reader(arkit_scenes, "lowres_wide/ and lowres_wide.traj"),
    "kitti": Reader(kitti, "poses.txt with image_2/ (or image_0, image_3, images, rgb)"),
    "colmap": Reader(colmap, "COLMAP's cameras and images files"),
}


def open_sequence(
    path: str | Path,
    *,
    reader: str | None = None,
    robot: str = "auto",
    robot_padding: float = DEFAULT_PADDING,
    **options,
) -> Sequence:
    """Open a recording in any of the formats of READERS; `sequence.source` says which took it, and why.

    `reader`: its name, where several would do. `robot`: `off` leaves the robot that the recording describes in its
    frames; else its pixels are ignored, with `robot_padding` metres around. Other options go to the reader, e.g.
    `image_topic=` for bags and `image_folder=` for COLMAP (docs/sequences.md). Raises SequenceError, naming what is
    wrong and what to do.
    """
    if robot not in ("auto", "off"):
        raise SequenceError("unknown_option", f"robot={robot}: say auto or off")
    if not 0.0 <= robot_padding <= 1.0:
        raise SequenceError("unknown_option", f"robot_padding={robot_padding:g}: say metres, 0 to 1")
    path = Path(path).expanduser()
    if not path.exists():
        raise SequenceError("missing_file", f"{path} does not exist: give a recording's folder or file")
    if reader is not None and reader not in READERS:
        raise SequenceError("unknown_option", f"reader={reader}: there is none; there are {', '.join(READERS)}")
    names = [reader] if reader else [name for name, each in READERS.items() if each.module.recognises(path)]
    if not names and (path / "intrinsics.json").is_file():
        names = ["folder"]  # whose reader says what is missing
    if not names:
        layouts = "; ".join(f"{name}: {each.layout}" for name, each in READERS.items())
        raise SequenceError("unknown_format", f"{path} is no recording known here ({layouts})")
    name, *others = names
    chosen = READERS[name]
    known = list(inspect.signature(chosen.module.read).parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        raise SequenceError(
            "unknown_option",
            f"{path} is read as {name}, which has no option {', '.join(unknown)}; it takes "
            f"{', '.join(known) or 'none'}",
        )
    if reader and not chosen.module.recognises(path):
        raise SequenceError("unknown_format", f"{path} cannot be read as {name}: it needs {chosen.layout}")
    sequence = chosen.module.read(path, **options)
    sequence.source = f"{name} ({chosen.layout})"
    if others:
        sequence.warn_once(
            "reader",
            f"read as {name}; it could be read as {', '.join(others)}, too (reader= chooses, e.g. {others[0]})",
        )
    if sequence.robot_source is None and has_robot(path):
        sequence.robot_source, sequence.robot_folder = partial(_robot_of, path), path / FOLDER
    if robot == "auto":
        sequence.read_robot(robot_padding)
    return sequence


def _robot_of(path: Path, padding: float) -> RecordedRobot:
    from cgc_ros.robot.recorded import read_robot  # with the rasteriser: slow to import

    return read_robot(path, padding)
