"""The mapping node. `ros2 launch cgc_ros cgc.launch.py -s` lists the arguments."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]  # share/cgc_ros when installed, the repository in a checkout

INPUTS = {
    "image": "colour image; image/compressed beside it for compressed transport",
    "camera_info": "calibration of that image",
    "depth": "depth image registered to the colour image, 16UC1 mm or 32FC1 m; mapping works without",
    "masks": "label images of your own segmenter, for mask_source topic",
    "detections_2d": "vision_msgs/Detection2DArray of a 2D detector on that image, for use_detections",
    "label_info": "vision_msgs/LabelInfo: names of that detector's classes, where it sends numbers",
    "pose": "camera poses, for pose_source pose, pose_with_covariance or odometry",
}
# Arguments that go over the parameter file where they are given: name, default, what it is.
OVERRIDES = {
    "image_transport": "raw, compressed or auto",
    "map_frame": "fixed frame of the map",
    "camera_frame": "optical frame of the camera, where the image header's is not the one in tf",
    "pose_source": "tf, pose, pose_with_covariance or odometry",
    "mask_source": "graph, sam, topic or none",
    "use_detections": "true: name objects by detections_2d",
    "viewer": "true: serve the live web viewer",
    "autostart": "false: wait for lifecycle transitions",
}
# Topics of the node that rviz/cgc.rviz shows, under its default name.
DISPLAYED = ("objects/cloud", "markers", "segmentation/overlay", "render/image")


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
        DeclareLaunchArgument("name", default_value="cgc", description="name of the node"),
        DeclareLaunchArgument(
            "params_file", default_value=str(SHARE / "config" / "cgc.yaml"), description="parameter file of the node"
        ),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="time from /clock"),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz on the map"),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
        *(
            DeclareLaunchArgument(name, default_value=name, description=f"topic: {what}")
            for name, what in INPUTS.items()
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"{what}; empty: as in params_file")
            for name, what in OVERRIDES.items()
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ("namespace", "name", *OVERRIDES)}
    overrides = {name: _typed(value[name]) for name in OVERRIDES if value[name]}
    use_sim_time = {"use_sim_time": _typed(LaunchConfiguration("use_sim_time").perform(context))}
    node = Node(
        package="cgc_ros",
        executable="cgc_node",
        namespace=value["namespace"],
        name=value["name"],
        parameters=[LaunchConfiguration("params_file"), overrides, use_sim_time],
        remappings=[(name, LaunchConfiguration(name)) for name in INPUTS]
        + [(f"{name}/compressed", [LaunchConfiguration(name), "/compressed"]) for name in ("image", "depth")],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    prefix = "/" + "/".join(part for part in (value["namespace"].strip("/"), value["name"]) if part)
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "cgc.rviz"), *(["-f", value["map_frame"]] if value["map_frame"] else [])],
        parameters=[use_sim_time],
        remappings=[(f"/cgc/{topic}", f"{prefix}/{topic}") for topic in DISPLAYED],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [node, rviz]


def _typed(text: str) -> bool | str:
    """Launch arguments are text; the node's parameters are typed."""
    return text.lower() == "true" if text.lower() in ("true", "false") else text
