"""A recording's ground truth for evaluation, as rosbags deserialises it. SequenceError names what is wrong with it."""

from __future__ import annotations

import json

import numpy as np

from cgc_ros.sequences.base import SequenceError

_POINT_FIELD_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # sensor_msgs/PointField


def instance_names(message, topic: str) -> dict[int, tuple[str, str]]:
    """std_msgs/String with JSON {"id": {"name": ..., "kind": ...}}."""
    try:
        return {int(key): (str(value["name"]), str(value["kind"])) for key, value in json.loads(message.data).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SequenceError(
            "bad_labels", f'{topic} must hold JSON {{"id": {{"name": ..., "kind": ...}}}}: {error!r}'
        ) from error


def labelled_points(message, topic: str) -> dict[int, np.ndarray]:
    """PointCloud2 with x, y, z and label -> {label: [P, 3] float32}."""
    fields = {field.name: field for field in message.fields}
    lacking = [name for name in ("x", "y", "z", "label") if name not in fields]
    if lacking:
        raise SequenceError(
            "bad_object_points", f"{topic} lacks the fields {', '.join(lacking)}: record x, y, z and label"
        )
    order = ">" if message.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": list(fields),
            "formats": [order + _POINT_FIELD_TYPES[field.datatype] for field in fields.values()],
            "offsets": [field.offset for field in fields.values()],
            "itemsize": message.point_step,
        }
    )
    points = np.frombuffer(bytes(message.data), dtype=layout, count=message.width * message.height)
    coordinates = np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float32)
    return {int(label): coordinates[points["label"] == label] for label in np.unique(points["label"])}
