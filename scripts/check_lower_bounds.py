"""The tests without ROS on the oldest versions that pyproject.toml promises, in an environment of their own.

    .venv/bin/python scripts/check_lower_bounds.py [PYTEST_ARGS ...]

The environment is made in .build/lower_bounds/ by the Python that runs this, which has to be one that these versions
have wheels for: CPython 3.10 or 3.11. On x86-64 PyPI's torch is the CUDA build: some 6 GB of disk.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".build" / "lower_bounds"
PYTHON = ENVIRONMENT / "bin" / "python"
MENTIONS_OF_ROS = ("rclpy", "cgc_ros.ros", "cgc_ros.msg", "cgc_ros.srv", "ros_rig", "ros_fakes")


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = [requirement.replace(">=", "==") for requirement in project["dependencies"]]
    install(oldest)
    command = [str(PYTHON), "-m", "pytest", "-p", "no:cacheprovider", "-m", "not e2e", *sys.argv[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *map(str, tests_without_ros())], cwd=ROOT, env=environment).returncode


def install(requirements: list[str]) -> None:
    fingerprint = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()
    stamp = ENVIRONMENT / "requirements"
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    pip = [str(PYTHON), "-m", "pip"]
    subprocess.run([*pip, "install", "--no-compile", *requirements, "pytest", "hypothesis"], check=True)
    # viser brings OpenCV's other distribution, whose newer files would lie over those of the oldest.
    opencv = next(each for each in requirements if each.startswith("opencv-python-headless"))
    subprocess.run([*pip, "uninstall", "--yes", "opencv-python"], check=True)
    subprocess.run([*pip, "install", "--no-compile", "--no-deps", "--force-reinstall", opencv], check=True)
    stamp.write_text(fingerprint)


def tests_without_ros() -> list[Path]:
    """Test files that need neither ROS nor what the development environment has beside the package."""
    found = []
    for file in sorted((ROOT / "test").glob("test_*.py")):
        text = file.read_text()
        if not file.name.startswith(("test_packaging_", "test_ros_", "test_docs")):
            if not any(name in text for name in MENTIONS_OF_ROS):
                found.append(file)
    return found


if __name__ == "__main__":
    sys.exit(main())
