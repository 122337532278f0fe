"""Repair of the ROS 2 wheels' exported CMake files.

They name header folders of the machine that built the wheels, and CMake refuses include folders that do not exist.
"""

import re
from pathlib import Path

_PYTHON = re.compile(r"/opt/python/cp\d+-cp\d+/include/python[\d.]+")
_NUMPY = re.compile(r"/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/_core/include")


def repair_include_paths(share: Path, python_include: str, numpy_include: str) -> int:
    """Point the exported CMake files under `share` to this environment's headers. Returns how many files changed."""
    changed = 0
    for file in share.glob("*/cmake/*.cmake"):
        text = file.read_text()
        repaired = _PYTHON.sub(python_include, _NUMPY.sub(numpy_include, text))
        if repaired != text:
            file.write_text(repaired)
            changed += 1
    return changed
