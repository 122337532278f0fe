"""The robot itself, which is no part of the world: its description, where its links are, and the pixels they cover.

`recorded` and `mask` draw: they import the rasteriser, and are imported by whoever has a robot.
"""

from cgc_ros.robot.errors import RobotError
from cgc_ros.robot.layout import DEFAULT_PADDING, has_robot
from cgc_ros.robot.poses import RobotPoses

__all__ = ["DEFAULT_PADDING", "RobotError", "RobotPoses", "has_robot"]
