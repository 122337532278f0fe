"""The layout for Foxglove: every panel that it places is configured, and shows a topic that the node publishes."""

import json
from pathlib import Path

import pytest

LAYOUT = Path(__file__).resolve().parents[1] / "config" / "foxglove.json"


def panels(tree) -> list[str]:
    return [tree] if isinstance(tree, str) else panels(tree["first"]) + panels(tree["second"])


def test_the_layout_shows_what_the_node_publishes():
    publishers = pytest.importorskip("cgc_ros.ros.publishers", reason="needs ROS 2")
    layout = json.loads(LAYOUT.read_text())
    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
    published = {topic.name.replace("~", "/cgc") for topic in publishers.TOPICS.values()}
    shown = {word for word in json.dumps(layout).split('"') if word.startswith("/")}
    assert shown - published == {"/cgc/status", "/diagnostics"} and len(shown) == 6
