"""A colcon build in a workspace of its own installs everything that a ROS user starts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLCON = Path(sys.executable).with_name("colcon")
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The install space. Without the C++ kernels, which take longer to compile than all the rest and are tested where
    they lie in the source tree."""
    if not (Path(sys.prefix) / "share" / "ament_index").exists():
        pytest.skip("for the environment of make setup; on a ROS distribution the package was built by colcon already")
    workspace = tmp_path_factory.mktemp("workspace")
    environment = {
        **os.environ,
        "AMENT_PREFIX_PATH": sys.prefix,
        "CMAKE_PREFIX_PATH": sys.prefix,
        "PATH": f"{COLCON.parent}:{os.environ['PATH']}",
        "CMAKE_GENERATOR": "Ninja",
    }
    options = [f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF", "-DCGC_KERNELS=OFF"]
    result = subprocess.run(
        [COLCON, "build", "--base-paths", ROOT, "--event-handlers", "console_direct+", "--cmake-args", *options],
        cwd=workspace, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    yield workspace / "install" / "cgc_ros"
    shutil.rmtree(workspace)


def installed_command(prefix: Path, *command: str) -> dict:
    """Arguments of subprocess for a command in a shell that has sourced the workspace, away from the source tree."""
    script = f'. "{prefix.parent}/local_setup.sh" && exec "$@"'
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    environment.pop("PYTHONPATH", None)  # the source tree, where the tests' own process has it
    return {"args": ["sh", "-c", script, "sh", *command], "cwd": prefix, "env": environment, "text": True}


def modules_of(prefix: Path) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return prefix / "lib" / version / "site-packages" / "cgc_ros"


def run_installed(prefix: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(**installed_command(prefix, *command), capture_output=True)


def run_node(prefix: Path, until: str) -> tuple[int, str]:
    """The installed program, ended by SIGTERM once its log holds `until`: exit status and log."""
    command = [str(prefix / "lib" / "cgc_ros" / "cgc_node"), "--ros-args", "-p", "mask_source:=topic"]
    process = subprocess.Popen(**installed_command(prefix, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = threading.Timer(240, process.kill)  # on a machine that does much else
    deadline.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            process.send_signal(signal.SIGTERM)
    deadline.cancel()
    return process.wait(), "".join(lines)


def test_programs_launch_files_and_parameters_are_where_ros_looks(installed):
    for program in ("lib/cgc_ros/cgc_node", "lib/cgc_ros/cgc", "bin/cgc"):
        assert os.access(installed / program, os.X_OK), program
    share = installed / "share" / "cgc_ros"
    for folder, pattern in (("launch", "*.launch.py"), ("config", "*.yaml"), ("rviz", "*.rviz")):
        names = {file.name for file in (ROOT / folder).glob(pattern)}
        assert names and names <= {file.name for file in (share / folder).iterdir()}
    assert (installed / "share" / "ament_index" / "resource_index" / "packages" / "cgc_ros").exists()


def test_interfaces_and_modules_of_the_workspace_import_side_by_side(installed):
    code = "import cgc_ros.frame as f, cgc_ros.msg as m, cgc_ros.srv as s; print(f.__file__, m.__file__, s.__file__)"
    result = run_installed(installed, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    assert all(Path(file).is_relative_to(installed) for file in result.stdout.split())


def test_no_file_of_the_package_is_left_behind(installed):
    for file in (ROOT / "cgc_ros").rglob("*.py"):
        assert (modules_of(installed) / file.relative_to(ROOT / "cgc_ros")).exists(), file


def test_the_command_runs_from_the_workspace(installed):
    result = run_installed(installed, "cgc", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("cgc_ros ")


def test_the_node_starts_without_kernels_and_says_what_is_missing(installed):
    status, log = run_node(installed, until="CPU kernels cannot be loaded")
    assert status == 0, log
    assert "active: waiting for images" not in log


def test_the_node_runs_from_the_workspace(installed):
    kernels = importlib.util.find_spec("cgc_ros.rendering._kernels").origin
    copy = shutil.copy(kernels, modules_of(installed) / "rendering")
    try:
        status, log = run_node(installed, until="active: waiting for images")
    finally:
        os.remove(copy)
    assert status == 0 and "shutting down" in log, log
