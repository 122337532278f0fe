"""ROS 2's distributions by what they lack."""

import importlib
import sys
import types

import pytest


def test_humble_names_the_events_of_topics_elsewhere(monkeypatch):
    event_handler = pytest.importorskip("rclpy.event_handler", reason="needs ROS 2, Iron or later")
    from cgc_ros.ros import distribution

    humble = types.ModuleType("rclpy.qos_event")
    humble.PublisherEventCallbacks, humble.SubscriptionEventCallbacks = (type(name, (), {}) for name in "PS")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rclpy.event_handler", None)
        patch.setitem(sys.modules, "rclpy.qos_event", humble)
        found = importlib.reload(distribution)
        assert found.PublisherEventCallbacks is humble.PublisherEventCallbacks
        assert found.SubscriptionEventCallbacks is humble.SubscriptionEventCallbacks
    assert importlib.reload(distribution).PublisherEventCallbacks is event_handler.PublisherEventCallbacks
