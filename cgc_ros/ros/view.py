"""An input image whose pose is known, as it goes from the intake to all who render or name, and its label image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from std_msgs.msg import Header

from cgc_ros.frame import Intrinsics


@dataclass(frozen=True)
class View:
    """An input image whose camera and pose are known: what a label image is made for."""

    header: Header  # of the input image, untouched
    stamp_ns: int
    image: np.ndarray  # [H, W, 3] uint8 RGB, as it came (distorted where the lens is)
    camera: Intrinsics  # of `image`
    map_from_camera: np.ndarray  # [4, 4]
    arrived_ns: int  # monotonic
    ignore: np.ndarray | None = None  # [H, W] bool, pixels of `image` that are no part of the world


@dataclass(frozen=True)
class LabelledView:
    """A view and its label image [H, W] uint16, 65535 unlabelled, 65534 ignored."""

    view: View
    labels: np.ndarray
