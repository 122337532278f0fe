"""Hear a running robot for ten seconds, and say what is there and what is missing for the node:

    ros2 launch cgc_ros check.launch.py image:=/camera/color/image_raw camera_info:=/camera/color/camera_info

Takes all arguments of cgc.launch.py, and starts no node. `cgc check --live` is the same with an exit status.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("seconds", default_value="10.0", description="how long to listen"),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments={"check": "true", "check_seconds": LaunchConfiguration("seconds")}.items(),
            ),
        ]
    )
