"""The launch files: what they start with which arguments. A recorder stands in for `launch`, which the wheels lack."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))


class Recorded:
    """Any action or substitution: keeps what it was made with."""

    def __init__(self, *positional, **named):
        self.positional, self.named = positional, named


@dataclass
class ProcessOutput:
    """What `launch` hands to OnProcessIO, as far as it is used."""

    text: bytes


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.positional[0]]


def stand_in(kind: str) -> type[Recorded]:
    return type(kind, (Recorded,), {})


KINDS = {
    "launch": ["LaunchContext", "LaunchDescription"],
    "launch.actions": [
        "DeclareLaunchArgument",
        "ExecuteProcess",
        "GroupAction",
        "IncludeLaunchDescription",
        "OpaqueFunction",
        "RegisterEventHandler",
    ],
    "launch.conditions": ["IfCondition"],
    "launch.event_handlers": ["OnProcessIO"],
    "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
    "launch.substitutions": ["PathJoinSubstitution"],
    "launch_ros": [],
    "launch_ros.actions": ["Node"],
    "launch_ros.substitutions": ["FindPackageShare"],
}


@pytest.fixture
def describe(monkeypatch) -> Callable[[str], list[Recorded]]:
    """The actions of a launch file, by its name."""
    for module_name, kinds in KINDS.items():
        module = ModuleType(module_name)
        for kind in kinds:
            setattr(module, kind, stand_in(kind))
        monkeypatch.setitem(sys.modules, module_name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration
    return lambda name: runpy.run_path(str(ROOT / "launch" / name))["generate_launch_description"]().positional[0]


def of_kind(actions: list[Recorded], kind: str) -> list[Recorded]:
    return [action for action in actions if type(action).__name__ == kind]


def defaults(actions: list[Recorded]) -> dict[str, str]:
    return {each.positional[0]: each.named.get("default_value") for each in of_kind(actions, "DeclareLaunchArgument")}


def start(actions: list[Recorded], **arguments: str) -> list[Recorded]:
    """The processes that cgc.launch.py starts with these arguments: the node, RViz, the recorder where asked for."""
    opaque = of_kind(actions, "OpaqueFunction")[0]
    return opaque.named["function"]({**defaults(actions), **arguments})


def text(value) -> str:
    """What a substitution stands for, with arguments written as $name."""
    parts = value if isinstance(value, list | tuple) else [value]
    return "".join(f"${each.positional[0]}" if isinstance(each, Recorded) else each for each in parts)


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_arguments_are_documented(describe, file):
    for argument in of_kind(describe(file.name), "DeclareLaunchArgument"):
        assert argument.named["description"], argument.positional


def test_the_parameter_file_exists_and_is_the_first_word(describe):
    actions = describe("cgc.launch.py")
    assert Path(defaults(actions)["params_file"]) == ROOT / "config" / "cgc.yaml"
    node = start(actions)[0]
    file, overrides, clock = node.named["parameters"]
    assert (text(file), overrides, clock) == ("$params_file", {}, {"use_sim_time": False})


def test_only_given_arguments_go_over_the_parameter_file(describe):
    given = {"map_frame": "odom", "autostart": "false", "viewer": "true", "viewer_port": "8090", "camera_frame": "7"}
    node = start(describe("cgc.launch.py"), use_sim_time="true", **given)[0]
    overrides, clock = node.named["parameters"][1:]
    assert overrides == {
        "map_frame": "odom",
        "autostart": False,
        "viewer": True,
        "viewer_port": 8090,
        "camera_frame": "7",
    }
    assert clock == {"use_sim_time": True}


def test_a_value_that_is_neither_true_nor_false_is_named(describe):
    with pytest.raises(ValueError, match="viewer:=yes"):
        start(describe("cgc.launch.py"), viewer="yes")


def test_every_override_is_a_parameter_of_the_node(describe):
    parameters = yaml.safe_load((ROOT / "config" / "cgc.yaml").read_text())["/**"]["ros__parameters"]
    actions = describe("cgc.launch.py")
    of_parameter_file = {"namespace", "name", "params_file", "use_sim_time", "rviz", "record", "log_level"}
    topics = {source for source, _ in start(actions)[0].named["remappings"]}
    assert defaults(actions).keys() - of_parameter_file - topics <= parameters.keys()


def test_all_inputs_are_recorded_where_the_node_hears_them(describe):
    actions = describe("cgc.launch.py")
    assert len(start(actions)) == 2
    recorder = start(actions, namespace="arm", image="/cam/color", record="out/bag")[2]
    command = recorder.named["cmd"]
    assert command[:5] == ["ros2", "bag", "record", "-o", "out/bag"]
    topics = command[command.index("--topics") + 1 :]
    assert {"/cam/color", "/cam/color/compressed", "/arm/camera_info", "/arm/depth", "/arm/pose"} <= set(topics)
    assert topics[-2:] == ["/tf", "/tf_static"]
    raw = start(actions, image_transport="raw", record="out/bag", use_sim_time="true")[2].named["cmd"]
    assert "/image/compressed" not in raw and "--use-sim-time" in raw


def test_the_started_program_is_installed(describe):
    node = start(describe("cgc.launch.py"))[0]
    assert (node.named["package"], node.named["executable"]) == ("cgc_ros", "cgc_node")
    program = ROOT / "scripts" / "ros" / "cgc_node"
    assert program.stat().st_mode & 0o111
    assert "scripts/ros/cgc_node" in (ROOT / "CMakeLists.txt").read_text()


def test_rviz_shows_the_topics_of_a_node_in_a_namespace(describe):
    rviz = start(describe("cgc.launch.py"), namespace="/arm/wrist/", name="map")[1]
    assert dict(rviz.named["remappings"])["/cgc/objects/cloud"] == "/arm/wrist/map/objects/cloud"
    displays = yaml.safe_load((ROOT / "rviz" / "cgc.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert shown == {source for source, _ in rviz.named["remappings"]}


def test_rviz_shows_topics_that_the_node_publishes():
    publishers = pytest.importorskip("cgc_ros.ros.publishers", reason="needs rclpy")
    published = {topic.name.replace("~", "/cgc"): topic for topic in publishers.TOPICS.values()}
    displays = yaml.safe_load((ROOT / "rviz" / "cgc.rviz").read_text())["Visualization Manager"]["Displays"]
    for topic in (display["Topic"] for display in displays if "Topic" in display):
        durability = topic["Durability Policy"].upper().replace(" ", "_")
        assert published[topic["Value"]].qos.durability.name == durability, topic


def test_realsense_uses_the_drivers_topics(describe):
    include = of_kind(describe("realsense.launch.py"), "IncludeLaunchDescription")[0]
    topics = {name: text(value) for name, value in include.named["launch_arguments"]}
    assert topics["depth"] == "$camera/aligned_depth_to_color/image_raw"
    assert topics.keys() <= defaults(describe("cgc.launch.py")).keys()


def test_the_realsense_driver_is_started_where_asked_for(describe):
    group = of_kind(describe("realsense.launch.py"), "GroupAction")[0]
    assert text(group.named["condition"].positional) == "$driver"
    driver = group.positional[0][0]
    assert dict(driver.named["launch_arguments"])["align_depth.enable"] == "true"


def test_a_recording_brings_its_clock(describe):
    actions = describe("recording.launch.py")
    include = of_kind(actions, "IncludeLaunchDescription")[0]
    assert dict(include.named["launch_arguments"]) == {"use_sim_time": "true"}


def test_a_recording_starts_once_the_node_is_active(describe):
    actions = describe("recording.launch.py")
    assert not of_kind(actions, "ExecuteProcess")
    on_output = of_kind(actions, "RegisterEventHandler")[0].positional[0].named["on_stderr"]
    assert on_output(ProcessOutput(b"[INFO] [cgc]: configured: poses in 'map' from tf")) is None
    player = on_output(ProcessOutput(b"[INFO] [1763] [cgc]: active: waiting for images on /camera/image"))
    played = [text(word) for word in player.named["cmd"]]
    assert played[:3] == ["ros2", "bag", "play"] and "--clock" in played
    assert on_output(ProcessOutput(b"[INFO] [1764] [cgc]: active: waiting for images on /camera/image")) is None


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed; ROS distributions have it"
)
@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_itself_reads_the_files(file):
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(file))
    assert {argument.name for argument in description.get_launch_arguments()}
