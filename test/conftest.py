"""For all tests: a ROS domain of their own, on this machine only, and logs that leave no trace."""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import ExitStack

import pytest

_run = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Before any test imports rclpy; processes that tests start inherit it."""
    os.environ["ROS_DOMAIN_ID"] = str(_unused_domain())
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOG_DIR"] = _run.enter_context(tempfile.TemporaryDirectory(prefix="cgc_ros_test_log_"))


def pytest_unconfigure(config: pytest.Config) -> None:
    _run.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device; this machine has none")


def _unused_domain() -> int:
    """Held until the end of the run, so that two runs at once do not hear each other."""
    try:
        import domain_coordinator
    except ImportError:  # the core's tests without ROS
        return random.randint(1, 100)
    return _run.enter_context(domain_coordinator.domain_id())
