"""One check of gpu_check.py: `python scripts/gpu_checks NAME [--cpu]` prints its figures as JSON on the last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import rasteriser
import runs

CHECKS = {
    "build": rasteriser.build,
    "tests": runs.tests,
    "parity": rasteriser.parity,
    "speed": rasteriser.speed,
    "profile": rasteriser.profile,
    "stereo": runs.stereo,
    "map": runs.map_and_eval,
    "paper": runs.paper,
    "node": runs.node,
    "sam": runs.sam,
    "memory": runs.memory,
}

ROOT = Path(__file__).resolve().parents[2]


def build_kernels() -> None:
    """The CPU backend, where this checkout has none yet."""
    from cgc_ros.rendering import available_backends

    if available_backends()["cpu"]:
        source, build = ROOT / "cgc_ros" / "rendering" / "csrc", ROOT / ".build" / "gpu_check_kernels"
        configure = ["cmake", "-S", source, "-B", build, f"-DPython3_EXECUTABLE={sys.executable}"]
        for command in (configure, ["cmake", "--build", build, "--parallel"], ["cmake", "--install", build]):
            subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    name, cpu = sys.argv[1], "--cpu" in sys.argv[2:]
    if name == "build":
        build_kernels()
    print(json.dumps(CHECKS[name]("cpu" if cpu else "gsplat")))
