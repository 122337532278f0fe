"""One object as a file to download."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from cgc_ros.evaluation.ply import object_file_stem, write_object_clouds
from cgc_ros.mapping import MapObject


def object_file(item: MapObject, parts: Sequence[MapObject] = ()) -> tuple[str, bytes]:
    """File name and content: a cloud as `cgc export` writes it (.ply; positions in the map frame in metres, colours,
    label), or with parts a .zip of the object's cloud and, in the folder `parts`, theirs.
    """
    with tempfile.TemporaryDirectory(prefix="cgc_ros_ply_") as folder:
        path = write_object_clouds(Path(folder), [item])[0]
        if not parts:
            return path.name, path.read_bytes()
        paths = [path, *write_object_clouds(Path(folder) / "parts", parts)]
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in paths:
                archive.write(each, each.relative_to(folder))
    return f"{object_file_stem(item.id, item.label)}.zip", content.getvalue()
