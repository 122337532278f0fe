"""Map with a RealSense camera whose driver aligns depth to colour:

    ros2 launch cgc_ros realsense.launch.py driver:=true

Without `driver:=true` the driver is expected to run already, here or on the robot:

    ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true rgb_camera.color_profile:=640x480x30

Something must publish the transform from the map frame to the camera: visual odometry, SLAM, or the arm that holds it.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from cgc_ros.ros.dds import transport_environment

DRIVER_ARGUMENTS = {
    "align_depth.enable": "true",
    "enable_sync": "true",
    "rgb_camera.color_profile": "640x480x30",
    "depth_module.depth_profile": "640x480x30",
}


def generate_launch_description() -> LaunchDescription:
    camera = LaunchConfiguration("camera")
    topics = {
        "image": [camera, "/color/image_raw"],
        "camera_info": [camera, "/color/camera_info"],
        "depth": [camera, "/aligned_depth_to_color/image_raw"],
    }
    driver = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("realsense2_camera"), "launch", "rs_launch.py"])
        ),
        launch_arguments=DRIVER_ARGUMENTS.items(),
    )
    transports = [SetEnvironmentVariable(name, value) for name, value in transport_environment().items()]
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "camera", default_value="/camera/camera", description="namespace and name of the driver's node"
            ),
            DeclareLaunchArgument(
                "driver", default_value="false", description="true: start the driver too, under /camera/camera"
            ),
            # In a scope of its own: the driver's arguments must not become the node's.
            GroupAction([*transports, driver], condition=IfCondition(LaunchConfiguration("driver"))),
            # Every other argument of cgc.launch.py can be given here too: included files see the same arguments.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments=topics.items(),
            ),
        ]
    )
