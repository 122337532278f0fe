"""Checks of ros2 commands against this package's launch files, topics and interfaces, without a ROS distribution."""

from __future__ import annotations

import importlib
import re
import shlex

import yaml
from documents import ROOT


def launch_problem(command: str) -> str:
    """What is wrong with a `ros2 launch cgc_ros FILE name:=value ...`; empty: nothing."""
    words = shlex.split(command)[3:]
    file = ROOT / "launch" / words[0]
    if not file.is_file():
        return f"there is no launch/{words[0]}"
    text = file.read_text() + (ROOT / "launch" / "cgc.launch.py").read_text()
    known = set(re.findall(r'^\s*(?:DeclareLaunchArgument\(\s*)?"(\w+)"', text, re.MULTILINE))
    known |= set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', text))
    unknown = [word.split(":=")[0] for word in words[1:] if ":=" in word and word.split(":=")[0] not in known]
    return f"unknown arguments {unknown}" if unknown else ""


def topic_problem(command: str) -> str:
    """What is wrong with a `ros2 topic VERB ... TOPIC`: the node must publish it."""
    from cgc_ros.ros.publishers import TOPICS

    known = {topic.name.replace("~", "/cgc") for topic in TOPICS.values()} | {"/diagnostics", "/cgc/status"}
    topic = shlex.split(command)[-1]
    return "" if topic in known else f"the node publishes no {topic}"


def service_problem(command: str) -> str:
    """What is wrong with a `ros2 service call NAME TYPE [YAML]`: the type must exist and take these fields."""
    name, kind, *fields = shlex.split(command)[3:]
    package, _, service = kind.split("/")
    if name not in _services():
        return f"the node has no service {name}"
    request = getattr(importlib.import_module(f"{package}.srv"), service).Request()
    try:
        _fill(request, yaml.safe_load(fields[0]) if fields else {})
    except (AttributeError, AssertionError, TypeError) as error:
        return f"{kind} does not take these fields: {error}"
    return ""


def _services() -> set[str]:
    text = (ROOT / "cgc_ros" / "ros" / "services.py").read_text()
    return {f"/cgc/{name}" for name in re.findall(r'"~/(\w+)"', text)}


def _fill(message, values: dict) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _fill(getattr(message, name), value)
        else:
            setattr(message, name, value)
