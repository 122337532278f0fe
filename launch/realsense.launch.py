"""Beside a RealSense driver that aligns depth to colour:

    ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true rgb_camera.color_profile:=640x480x30
    ros2 launch cgc_ros realsense.launch.py

Something must publish the transform from the map frame to the camera: visual odometry, SLAM, or the arm that holds it.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    camera = LaunchConfiguration("camera")
    topics = {
        "image": [camera, "/color/image_raw"],
        "camera_info": [camera, "/color/camera_info"],
        "depth": [camera, "/aligned_depth_to_color/image_raw"],
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "camera", default_value="/camera/camera", description="namespace and name of the driver's node"
            ),
            # Every other argument of cgc.launch.py can be given here too: included files see the same arguments.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments=topics.items(),
            ),
        ]
    )
