"""What can be wrong with a robot's description, its meshes and its joints."""

from __future__ import annotations

from cgc_ros.errors import ReasonError


class RobotError(ReasonError, ValueError):
    """A description that cannot be used, or a part of it.

    Reasons: missing_package, bad_urdf, bad_robot (robot.json), bad_joints, missing_mesh, no_shapes.
    """
