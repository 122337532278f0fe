"""What the operating system has to provide: a C++ compiler, Python's headers and venv, libraries that open3d loads."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from runner import SetupError, base_environment, run_logged

# Shared object that is loaded at run time: the Debian package it comes from.
RUNTIME_LIBRARIES = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libX11.so.6": "libx11-6",
}


def ensure_prerequisites(log: Path) -> None:
    """Check everything; as root on a machine with apt-get, install what is missing.

    Raises SetupError with the exact command where that is left to the user.
    """
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"           installing with apt-get: {' '.join(missing)}", flush=True)
        environment = {**base_environment(), "DEBIAN_FRONTEND": "noninteractive"}
        try:
            run_logged(["apt-get", "update", "-q"], log, environment)
        except SetupError:
            pass  # an unreachable mirror among several; whether it matters shows in the installation below
        run_logged(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], log, environment)
        missing = missing_packages()
    if missing:
        raise SetupError(
            f"this machine lacks {', '.join(missing)} (names of Debian and Ubuntu). Install them and run make again:\n"
            f"    sudo apt-get install -y {' '.join(missing)}"
        )


def missing_packages() -> list[str]:
    missing = [package for library, package in RUNTIME_LIBRARIES.items() if not _loads(library)]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not _compiles():
        missing.append("g++")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append(f"python{version}-dev")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{version}-venv")
    return missing


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _compiles() -> bool:
    """Whether the C++ compiler that CMake will find makes an object file."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        return False
    command = [*compiler.split(), "-x", "c++", "-std=c++17", "-c", "-o", os.devnull, "-"]
    try:
        return subprocess.run(command, input=b"#include <vector>\n", capture_output=True).returncode == 0
    except OSError:
        return False
