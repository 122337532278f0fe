"""One object's cloud as a .ply file to download."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cgc_ros.evaluation.ply import write_object_clouds
from cgc_ros.mapping import MapObject


def object_ply(item: MapObject) -> tuple[str, bytes]:
    """File name and content, as `cgc export` writes it: positions in the map frame (metres), colours, label."""
    with tempfile.TemporaryDirectory(prefix="cgc_ros_ply_") as folder:
        path = write_object_clouds(Path(folder), [item])[0]
        return path.name, path.read_bytes()
