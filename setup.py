"""Builds the C++ kernels with their own CMake for `pip install`; everything else is declared in pyproject.toml.

Not the ROS build: that is CMakeLists.txt, by colcon, which builds the same kernels and the interfaces.
"""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "cgc_ros" / "rendering" / "csrc"


class BuildKernels(build_ext):
    """Runs CMake in place of setuptools' own compilation."""

    def run(self) -> None:
        in_source_tree = self.inplace or getattr(self, "editable_mode", False)
        if in_source_tree:  # pip install --editable, make setup: incremental
            build, destination = ROOT / ".build" / "kernels", CSRC.parent
        else:
            build = Path(self.build_temp).resolve() / "kernels"
            destination = Path(self.build_lib).resolve() / "cgc_ros" / "rendering"
        configure = [
            *("cmake", "-S", str(CSRC), "-B", str(build)),
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCGC_KERNELS_DESTINATION={destination}",
        ]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--parallel", jobs], check=True)
        subprocess.run(["cmake", "--install", str(build)], check=True)

    def get_source_files(self) -> list[str]:
        return [str(path.relative_to(ROOT)) for path in sorted(CSRC.iterdir()) if path.is_file()]

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


setup(
    # Named so that setuptools knows of compiled code and tags the wheel by platform.
    ext_modules=[Extension("cgc_ros.rendering._kernels", sources=[])],
    cmdclass={"build_ext": BuildKernels},
)
