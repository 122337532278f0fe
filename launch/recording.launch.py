"""Map a rosbag2 recording: `ros2 launch cgc_ros recording.launch.py bag:=PATH image:=/camera/image_raw ...`.

The recording's own clock is used, so that its transforms and images have the stamps the node expects. It starts when
the node says that it is active, which takes seconds on one machine and half a minute on another.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

ACTIVE = b"active: waiting for images"  # of the node's log, on_activate in cgc_ros/ros/managed_node.py


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="folder or .mcap file of the recording"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed of playing, 1: as it was recorded"),
            DeclareLaunchArgument(
                "delay", default_value="2.0", description="seconds from the node's activation to the first message"
            ),
            _once_active(
                ExecuteProcess(
                    cmd=[
                        *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"),
                        *("--rate", LaunchConfiguration("rate"), "--delay", LaunchConfiguration("delay")),
                    ],
                    output="screen",
                )
            ),
            # Every other argument of cgc.launch.py can be given here too: included files see the same arguments.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )


def _once_active(player: ExecuteProcess) -> RegisterEventHandler:
    """Starts the player with the first log line that says that the node is active."""
    waiting = [player]

    def on_output(event) -> ExecuteProcess | None:
        return waiting.pop() if waiting and ACTIVE in event.text else None

    return RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output))
