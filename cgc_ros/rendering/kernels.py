"""The C++ kernels, `_kernels`, built in place by CMake; this module is where their absence is explained.

Without them (CGC_KERNELS=OFF) everything imports, the `cpu` backend cannot be used, and what else they make faster is
done by torch operators.
"""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import torch
from torch import Tensor


class _Absent:
    """In place of the module: any use of it says what to do."""

    def __init__(self, reason: str):
        self.reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise ImportError(f"{name}: {self.reason}")


kernels: Any
WHY_UNAVAILABLE = ""  # the reason and the remedy where there are no kernels
try:
    kernels = importlib.import_module("cgc_ros.rendering._kernels")
except ImportError as error:
    WHY_UNAVAILABLE = (
        f"cgc_ros's CPU kernels cannot be loaded ({error}). Build them with 'make setup', with 'pip install .', with "
        "colcon, or by hand from the repository's root:\n"
        "  cmake -S cgc_ros/rendering/csrc -B .build/kernels -DPython3_EXECUTABLE=$(which python3)\n"
        "  cmake --build .build/kernels && cmake --install .build/kernels"
    )
    kernels = _Absent(WHY_UNAVAILABLE)


def kernels_take(tensor: Tensor) -> bool:
    """Whether the kernels can work on it: float32 on the CPU, where they are built."""
    return not WHY_UNAVAILABLE and tensor.device.type == "cpu" and tensor.dtype == torch.float32


def num_threads() -> int:
    """Threads the kernels run on: torch's, set by `torch.set_num_threads` or OMP_NUM_THREADS."""
    return torch.get_num_threads()


__all__ = ["WHY_UNAVAILABLE", "kernels", "kernels_take", "num_threads"]
