"""A colcon build in a workspace of its own installs everything that a ROS user starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


def run_installed(prefix: Path, *command: str) -> subprocess.CompletedProcess:
    """A command in a shell that has sourced the workspace, away from the source tree."""
    script = f'. "{prefix.parent}/local_setup.sh" && exec "$@"'
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], cwd=prefix, env=environment, capture_output=True, text=True
    )


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
    modules = (
        installed / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages" / "cgc_ros"
    )
    for file in (ROOT / "cgc_ros").rglob("*.py"):
        assert (modules / file.relative_to(ROOT / "cgc_ros")).exists(), file


def test_the_command_runs_from_the_workspace(installed):
    result = run_installed(installed, "cgc", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("cgc_ros ")
