"""The robot at an image's stamp, on its way from who knows its links to who wants its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from cgc_ros.robot.mask import RobotMask


class RobotSight(NamedTuple):
    """Where its links are, and what draws them."""

    mask: RobotMask
    map_from_link: dict[str, np.ndarray]  # [4, 4] by link
    moved: dict[str, float]  # metres by link, lately
