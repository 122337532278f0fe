"""Recorded posed frames, whatever their format: `open_sequence(path)`."""

from __future__ import annotations

import inspect
from pathlib import Path

from cgc_ros.sequences import bag, colmap, folder, nerfstudio
from cgc_ros.sequences.base import GroundTruth, Sequence, SequenceError

__all__ = ["GroundTruth", "Sequence", "SequenceError", "open_sequence"]

#: A reader is a module with `recognises(path) -> bool` and `read(path, **options) -> Sequence`; the first that
#: recognises reads.
READERS = {
    "folder": folder,
    "bag": bag,
    "nerfstudio": nerfstudio,
    "colmap": colmap,
}


def open_sequence(path: str | Path, **options) -> Sequence:
    """Open a recording: a folder with poses.csv, a rosbag2/MCAP (or ROS 1) bag, a COLMAP model or a nerfstudio
    transforms.json.

    `options` go to the reader, e.g. `image_topic=` for bags and `image_folder=` for COLMAP (docs/sequences.md).
    Raises SequenceError, naming what is wrong and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SequenceError("missing_file", f"{path} does not exist: give a recording's folder or file")
    for reader_name, reader in READERS.items():
        if reader.recognises(path):
            known = list(inspect.signature(reader.read).parameters)[1:]
            if unknown := sorted(set(options) - set(known)):
                raise SequenceError(
                    "unknown_option",
                    f"{path} is read as {reader_name}, which has no option {', '.join(unknown)}; it takes "
                    f"{', '.join(known) or 'none'}",
                )
            return reader.read(path, **options)
    raise SequenceError(
        "unknown_format",
        f"{path} is no recording known here: expected a folder with poses.csv and images/, "
        "a rosbag2 folder or .mcap file, "
        "a folder with COLMAP's cameras and images files, or a nerfstudio transforms.json",
    )
