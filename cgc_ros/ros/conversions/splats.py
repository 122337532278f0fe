"""A map's Gaussians as sensor_msgs PointCloud2."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

if TYPE_CHECKING:
    from cgc_ros.gaussians.model import GaussianModel

#: The names and the meaning of a 3DGS .ply: metres, logs of metres, w x y z of length 1, logit, harmonics' first band.
FIELDS = (
    *("x", "y", "z", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    *("opacity", "f_dc_0", "f_dc_1", "f_dc_2"),
)
_STEP = 4 * len(FIELDS)


def splat_message(model: GaussianModel, header: Header) -> PointCloud2:
    """Every Gaussian as a point of FIELDS, float32, in the map's frame."""
    values = {name: value.detach().cpu().numpy() for name, value in model.parameters.items()}
    lengths = np.linalg.norm(values["quats"], axis=1, keepdims=True)
    columns = [
        values["means"],
        values["log_scales"],
        values["quats"] / np.maximum(lengths, 1e-12),
        values["logit_opacities"][:, None],
        values["sh"][:, 0],
    ]
    points = np.concatenate(columns, axis=1).astype(np.float32)
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(FIELDS)
    ]
    message = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    message.is_bigendian = sys.byteorder == "big"
    message.point_step, message.row_step = _STEP, _STEP * len(points)
    message.data = array("B", points.tobytes())
    message.is_dense = bool(np.isfinite(points).all())
    return message
