"""The mapping node. `ros2 launch cgc_ros cgc.launch.py -s` lists the arguments."""

from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]  # share/cgc_ros when installed, the repository in a checkout

INPUTS = {
    "image": "colour image; image/compressed beside it for compressed transport",
    "camera_info": "calibration of that image",
    "depth": "depth image registered to the colour image, 16UC1 mm or 32FC1 m; mapping works without",
    "masks": "label images of your own segmenter, for mask_source topic",
    "ignore": "mono8 masks of what in the image is no part of the world (nonzero): a person, a gripper",
    "detections_2d": "vision_msgs/Detection2DArray of a 2D detector on that image, for use_detections",
    "label_info": "vision_msgs/LabelInfo: names of that detector's classes, where it sends numbers",
    "pose": "camera poses, for pose_source pose, pose_with_covariance or odometry",
}
#: Where a robot keeps its transforms in its namespace, as Nav2's launch files do with use_namespace.
TRANSFORMS = {
    "tf": "transforms, where they are not on /tf; tf or tf_static without a slash: in the namespace",
    "tf_static": "static transforms, where they are not on tf_static beside it",
}
# Parameters that go over the parameter file where they are given: name, what it is.
OVERRIDES = {
    "image_transport": "raw, compressed or auto",
    "map_frame": "fixed frame of the map",
    "camera_frame": "optical frame of the camera, where the image header's is not the one in tf",
    "pose_source": "tf, pose, pose_with_covariance or odometry",
    "mask_source": "graph, sam, topic or none",
    "use_detections": "true: name objects by detections_2d",
    "autostart": "false: wait for lifecycle transitions",
    "viewer": "true: serve the live web viewer",
    "viewer_port": "its port",
    "map_directory": "folder that maps are saved to and loaded from",
    "load_on_start": "name of a map in it to go on with",
    "save_on_shutdown": "name under which the map is saved at the end",
}
# Topics of the node that rviz/cgc.rviz shows, under its default name.
DISPLAYED = ("objects/cloud", "markers", "segmentation/overlay", "render/image")


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
        DeclareLaunchArgument(
            "use_namespace", default_value="false", description="true: /tf and /tf_static are in the namespace, too"
        ),
        DeclareLaunchArgument("name", default_value="cgc", description="name of the node"),
        DeclareLaunchArgument(
            "params_file", default_value=str(SHARE / "config" / "cgc.yaml"), description="parameter file of the node"
        ),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="time from /clock"),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz on the map"),
        DeclareLaunchArgument(
            "check",
            default_value="false",
            description="true: no node, only hear the inputs and say what is there and what is missing",
        ),
        DeclareLaunchArgument("check_seconds", default_value="10.0", description="how long, with check:=true"),
        DeclareLaunchArgument(
            "record",
            default_value="",
            description="new folder for a rosbag2 recording of the inputs, for recording.launch.py or `cgc map`; "
            "empty: none",
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
        *(
            DeclareLaunchArgument(name, default_value=name, description=f"topic: {what}")
            for name, what in INPUTS.items()
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"topic: {what}")
            for name, what in TRANSFORMS.items()
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"{what}; empty: as in params_file")
            for name, what in OVERRIDES.items()
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_processes)])


def _processes(context: LaunchContext) -> list[Node | ExecuteProcess]:
    names = ("namespace", "use_namespace", "name", "use_sim_time", "rviz", "check", "check_seconds", "record")
    value = {name: LaunchConfiguration(name).perform(context) for name in (*names, *INPUTS, *TRANSFORMS, *OVERRIDES)}
    defaults = yaml.safe_load((SHARE / "config" / "cgc.yaml").read_text())["/**"]["ros__parameters"]
    overrides = {name: _typed(name, value[name], defaults[name]) for name in OVERRIDES if value[name]}
    use_sim_time, use_namespace, rviz, check = (
        _typed(name, value[name], False) for name in ("use_sim_time", "use_namespace", "rviz", "check")
    )
    value["tf"] = value["tf"] or ("tf" if use_namespace else "/tf")
    value["tf_static"] = value["tf_static"] or value["tf"] + "_static"
    inputs = {
        "namespace": value["namespace"],
        "parameters": [LaunchConfiguration("params_file"), overrides, {"use_sim_time": use_sim_time}],
        "remappings": [*((name, value[name]) for name in INPUTS), *_transforms(value)],
    }
    if check:
        return [_check(value["check_seconds"], inputs)]
    node = Node(
        package="cgc_ros",
        executable="cgc_node",
        name=value["name"],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        **inputs,
    )
    others = [
        *([_rviz(value, use_sim_time)] if rviz else []),
        *([_recorder(value, use_sim_time)] if value["record"] else []),
    ]
    return [node, *others]


def _check(seconds: str, inputs: dict) -> Node:
    return Node(
        package="cgc_ros",
        executable="cgc",
        arguments=["check", "--live", "--seconds", seconds],
        output="screen",
        output_format="{line}",
        emulate_tty=True,
        **inputs,
    )


def _rviz(value: dict[str, str], use_sim_time: bool) -> Node:
    try:  # before anything is started: a node that was would run on without its launch file
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        raise RuntimeError(
            "rviz:=true, and rviz2 is not installed: sudo apt install ros-jazzy-rviz2, or viewer:=true for a web page"
        ) from None
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "cgc.rviz"), *(["-f", value["map_frame"]] if value["map_frame"] else [])],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[
            *((f"/cgc/{topic}", _absolute(f"{value['name']}/{topic}", value)) for topic in DISPLAYED),
            *((source, _absolute(topic, value)) for source, topic in _transforms(value)),
        ],
    )


def _transforms(value: dict[str, str]) -> list[tuple[str, str]]:
    return [("/tf", value["tf"]), ("/tf_static", value["tf_static"])]


def _recorder(value: dict[str, str], use_sim_time: bool) -> ExecuteProcess:
    """`ros2 bag record` of all inputs that are published; images raw or compressed as the node takes them."""
    suffixes = {"raw": [""], "compressed": ["/compressed"]}.get(value["image_transport"], ["", "/compressed"])
    topics = [_absolute(value["image"], value) + suffix for suffix in suffixes]
    topics += [_absolute(value["depth"], value) + suffix for suffix in ("", "/compressed", "/compressedDepth")]
    topics += [_absolute(value[name], value) for name in ("camera_info", "masks", "ignore", "pose", "tf", "tf_static")]
    clock = ["--use-sim-time"] if use_sim_time else []
    return ExecuteProcess(
        cmd=["ros2", "bag", "record", "-o", value["record"], *clock, "--topics", *topics],
        output="screen",
    )


def _absolute(topic: str, value: dict[str, str]) -> str:
    return topic if topic.startswith("/") else "/" + "/".join(filter(None, (value["namespace"].strip("/"), topic)))


def _typed(name: str, text: str, default: bool | int | str) -> bool | int | str:
    """Launch arguments are text; the node's parameters have the type of their default."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}:={text}: give true or false")
        return text.lower() == "true"
    return type(default)(text)
