"""Map a rosbag2 recording: `ros2 launch cgc_ros recording.launch.py bag:=PATH image:=/camera/image_raw ...`.

The recording's own clock is used, so that its transforms and images have the stamps the node expects.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="folder or .mcap file of the recording"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed of playing, 1: as it was recorded"),
            DeclareLaunchArgument(
                "delay", default_value="3.0", description="seconds before it starts: the node is up by then"
            ),
            ExecuteProcess(
                cmd=[
                    *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"),
                    *("--rate", LaunchConfiguration("rate"), "--delay", LaunchConfiguration("delay")),
                ],
                output="screen",
            ),
            # Every other argument of cgc.launch.py can be given here too: included files see the same arguments.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )
