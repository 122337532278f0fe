"""Map a rosbag2 recording: `ros2 launch cgc_ros recording.launch.py bag:=PATH image:=/camera/image_raw ...`.

The recording's own clock is used, so that its transforms and images have the stamps the node expects. It starts when
the node says that it is active, which takes seconds on one machine and half a minute on another.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from cgc_ros.ros.dds import transport_environment

ACTIVE = b"active: waiting for images"  # of the node's log, on_activate in cgc_ros/ros/managed_node.py
FAILED = (b"cannot configure: ", b"cannot activate: ")  # of the same, `_fail`


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
                    additional_env=transport_environment(),
                )
            ),
            RegisterEventHandler(OnProcessExit(on_exit=_end_with_a_failure)),
            # Every other argument of cgc.launch.py can be given here too: included files see the same arguments.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(Path(__file__).with_name("cgc.launch.py"))),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )


def _once_active(player: ExecuteProcess) -> RegisterEventHandler:
    """Starts the player with the first log line that says that the node is active; ends where it cannot become so."""
    waiting = [player]

    def on_output(event) -> ExecuteProcess | list | None:
        if any(words in event.text for words in FAILED):
            return _end("the node cannot start, its log above says why")
        return waiting.pop() if waiting and ACTIVE in event.text else None

    return RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output))


def _end_with_a_failure(event, context) -> list | None:
    if context.is_shutdown or not event.returncode:
        return None
    return _end(f"{event.process_name} ended with exit status {event.returncode}")


def _end(reason: str) -> list:
    return [LogInfo(msg=f"recording.launch.py ends: {reason}"), Shutdown(reason=reason)]
