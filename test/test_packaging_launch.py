"""The launch files: what they start with which arguments. A recorder stands in for `launch`, which the wheels lack."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Callable
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


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.positional[0]]


def stand_in(kind: str) -> type[Recorded]:
    return type(kind, (Recorded,), {})


KINDS = {
    "launch": ["LaunchContext", "LaunchDescription"],
    "launch.actions": ["DeclareLaunchArgument", "ExecuteProcess", "IncludeLaunchDescription", "OpaqueFunction"],
    "launch.conditions": ["IfCondition"],
    "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
    "launch.substitutions": [],
    "launch_ros": [],
    "launch_ros.actions": ["Node"],
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
    """The nodes that cgc.launch.py starts with these arguments."""
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
    node = start(describe("cgc.launch.py"), map_frame="odom", autostart="false", use_sim_time="true")[0]
    assert node.named["parameters"][1:] == [{"map_frame": "odom", "autostart": False}, {"use_sim_time": True}]


def test_every_override_is_a_parameter_of_the_node(describe):
    parameters = yaml.safe_load((ROOT / "config" / "cgc.yaml").read_text())["/**"]["ros__parameters"]
    actions = describe("cgc.launch.py")
    of_parameter_file = {"namespace", "name", "params_file", "use_sim_time", "rviz", "log_level"}
    topics = {source for source, _ in start(actions)[0].named["remappings"]}
    assert defaults(actions).keys() - of_parameter_file - topics <= parameters.keys()


def test_compressed_topics_follow_their_raw_ones(describe):
    remappings = {source: text(target) for source, target in start(describe("cgc.launch.py"))[0].named["remappings"]}
    assert remappings["image"] == "$image"
    assert remappings["image/compressed"] == "$image/compressed"


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


def test_a_recording_brings_its_clock(describe):
    actions = describe("recording.launch.py")
    played = [text(word) for word in of_kind(actions, "ExecuteProcess")[0].named["cmd"]]
    assert played[:3] == ["ros2", "bag", "play"] and "--clock" in played
    include = of_kind(actions, "IncludeLaunchDescription")[0]
    assert dict(include.named["launch_arguments"]) == {"use_sim_time": "true"}


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed; ROS distributions have it"
)
@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_itself_reads_the_files(file):
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(file))
    assert {argument.name for argument in description.get_launch_arguments()}
