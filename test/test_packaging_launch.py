"""The launch files: what they start with which arguments. A recorder stands in for `launch`, which the wheels lack."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

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


@dataclass
class ProcessEnd:
    """What `launch` hands to OnProcessExit."""

    process_name: str
    returncode: int


@dataclass
class Running:
    """The context of a launch."""

    is_shutdown: bool = False


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
        "LogInfo",
        "OpaqueFunction",
        "RegisterEventHandler",
        "SetEnvironmentVariable",
        "Shutdown",
    ],
    "launch.conditions": ["IfCondition"],
    "launch.event_handlers": ["OnProcessExit", "OnProcessIO"],
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
    of_launch = {"namespace", "use_namespace", "name", "params_file", "use_sim_time", "rviz", "record", "log_level"}
    of_launch |= {"check", "check_seconds", "tf", "tf_static"}
    topics = {source for source, _ in start(actions)[0].named["remappings"]}
    assert defaults(actions).keys() - of_launch - topics <= parameters.keys()


def test_all_inputs_are_recorded_where_the_node_hears_them(describe):
    actions = describe("cgc.launch.py")
    assert len(start(actions)) == 1
    recorder = start(actions, namespace="arm", image="/cam/color", record="out/bag")[1]
    command = recorder.named["cmd"]
    assert command[:5] == ["ros2", "bag", "record", "-o", "out/bag"]
    topics = command[command.index("--topics") + 1 :]
    assert {"/cam/color", "/cam/color/compressed", "/arm/camera_info", "/arm/depth", "/arm/pose"} <= set(topics)
    assert topics[-2:] == ["/tf", "/tf_static"]
    raw = start(actions, image_transport="raw", record="out/bag", use_sim_time="true")[1].named["cmd"]
    assert "/image/compressed" not in raw and "--use-sim-time" in raw


@pytest.mark.parametrize(
    ("arguments", "tf", "tf_static"),
    [
        ({"namespace": "arm"}, "/tf", "/tf_static"),
        ({"namespace": "arm", "use_namespace": "true"}, "tf", "tf_static"),
        ({"tf": "/robot1/tf"}, "/robot1/tf", "/robot1/tf_static"),
        ({"tf": "/robot1/tf", "tf_static": "/tf_static"}, "/robot1/tf", "/tf_static"),
    ],
)
def test_transforms_may_live_in_a_namespace(describe, arguments, tf, tf_static):
    remappings = dict(start(describe("cgc.launch.py"), **arguments)[0].named["remappings"])
    assert (remappings["/tf"], remappings["/tf_static"]) == (tf, tf_static)


def test_transforms_of_a_namespace_are_recorded_and_shown(describe, with_rviz):
    given = {"namespace": "arm", "use_namespace": "true", "record": "out/bag", "rviz": "true"}
    _, rviz, recorder = start(describe("cgc.launch.py"), **given)
    assert recorder.named["cmd"][-2:] == ["/arm/tf", "/arm/tf_static"]
    assert dict(rviz.named["remappings"])["/tf"] == "/arm/tf"


def test_without_rviz2_nothing_is_started_and_the_reason_is_named(describe, monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="rviz2 is not installed: sudo apt install ros-jazzy-rviz2"):
        start(describe("cgc.launch.py"), rviz="true")


def test_a_check_hears_what_the_node_would_and_starts_no_node(describe):
    include = of_kind(describe("check.launch.py"), "IncludeLaunchDescription")[0]
    assert dict(include.named["launch_arguments"])["check"] == "true"
    actions = describe("cgc.launch.py")
    given = {"namespace": "arm", "image": "/cam/color", "map_frame": "odom"}
    (check,) = start(actions, check="true", record="out/bag", **given)
    assert check.named["executable"] == "cgc" and check.named["arguments"][:2] == ["check", "--live"]
    node = start(actions, **given)[0]
    for what in ("namespace", "remappings"):
        assert check.named[what] == node.named[what]
    assert check.named["parameters"][1:] == node.named["parameters"][1:]
    assert "scripts/ros/cgc " in (ROOT / "CMakeLists.txt").read_text()


def test_the_started_program_is_installed(describe):
    node = start(describe("cgc.launch.py"))[0]
    assert (node.named["package"], node.named["executable"]) == ("cgc_ros", "cgc_node")
    program = ROOT / "scripts" / "ros" / "cgc_node"
    assert program.stat().st_mode & 0o111
    assert "scripts/ros/cgc_node" in (ROOT / "CMakeLists.txt").read_text()


@pytest.fixture
def with_rviz(monkeypatch, tmp_path):
    """An ament prefix with rviz2 in it."""
    packages = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    packages.mkdir(parents=True)
    (packages / "rviz2").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def test_rviz_shows_the_topics_of_a_node_in_a_namespace(describe, with_rviz):
    rviz = start(describe("cgc.launch.py"), rviz="true", namespace="/arm/wrist/", name="map")[1]
    assert dict(rviz.named["remappings"])["/cgc/objects/cloud"] == "/arm/wrist/map/objects/cloud"
    displays = yaml.safe_load((ROOT / "rviz" / "cgc.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert shown == {source for source, _ in rviz.named["remappings"]} - {"/tf", "/tf_static"}


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
    driver = group.positional[0][-1]
    assert dict(driver.named["launch_arguments"])["align_depth.enable"] == "true"


def test_what_sends_images_is_started_with_room_for_them(describe, monkeypatch):
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    variable = ("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
    group = of_kind(describe("realsense.launch.py"), "GroupAction")[0]
    assert [each.positional for each in of_kind(group.positional[0], "SetEnvironmentVariable")] == [variable]
    assert player_of(describe("recording.launch.py")).named["additional_env"] == dict([variable])
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")  # the user's choice holds
    assert player_of(describe("recording.launch.py")).named["additional_env"] == {}


def test_a_recording_brings_its_clock(describe):
    actions = describe("recording.launch.py")
    include = of_kind(actions, "IncludeLaunchDescription")[0]
    assert dict(include.named["launch_arguments"]) == {"use_sim_time": "true"}


def handler(actions: list[Recorded], kind: str) -> Recorded:
    """The event handler of a kind."""
    return next(
        each.positional[0]
        for each in of_kind(actions, "RegisterEventHandler")
        if type(each.positional[0]).__name__ == kind
    )


def player_of(actions: list[Recorded]) -> Recorded:
    """What recording.launch.py starts once the node is active."""
    on_output = handler(actions, "OnProcessIO").named["on_stderr"]
    return on_output(ProcessOutput(b"[INFO] [1763] [cgc]: active: waiting for images on /camera/image"))


def test_a_recording_starts_once_the_node_is_active(describe):
    actions = describe("recording.launch.py")
    assert not of_kind(actions, "ExecuteProcess")
    on_output = handler(actions, "OnProcessIO").named["on_stderr"]
    assert on_output(ProcessOutput(b"[INFO] [cgc]: configured: poses in 'map' from tf")) is None
    player = player_of(actions)
    played = [text(word) for word in player.named["cmd"]]
    assert played[:3] == ["ros2", "bag", "play"] and "--clock" in played
    assert player_of(actions) is None  # once


def test_a_recording_ends_where_the_node_cannot_start_or_playing_fails(describe):
    actions = describe("recording.launch.py")
    refused = handler(actions, "OnProcessIO").named["on_stderr"](
        ProcessOutput(b"[ERROR] [1763] [cgc]: cannot configure: /nowhere.cgc does not exist")
    )
    assert [type(each).__name__ for each in refused] == ["LogInfo", "Shutdown"]
    on_exit = handler(actions, "OnProcessExit").named["on_exit"]
    log, end = on_exit(ProcessEnd("ros2-2", 2), Running())
    assert "ros2-2 ended with exit status 2" in log.named["msg"] and type(end).__name__ == "Shutdown"
    assert on_exit(ProcessEnd("ros2-2", 0), Running()) is None  # played to its end: the map stays
    assert on_exit(ProcessEnd("ros2-2", -2), Running(is_shutdown=True)) is None  # by Ctrl-C


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed; ROS distributions have it"
)
@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_itself_reads_the_files(file):
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(file))
    assert {argument.name for argument in description.get_launch_arguments()}
