"""The C++ kernels, `_kernels`, built in place by CMake; this module is where their absence is explained."""

from __future__ import annotations

import torch

try:
    from cgc_ros.rendering import _kernels as kernels
except ImportError as error:
    raise ImportError(
        f"cgc_ros's CPU kernels cannot be loaded ({error}). Build them with 'make setup', with 'pip install .', with "
        "colcon, or by hand from the repository's root:\n"
        "  cmake -S cgc_ros/rendering/csrc -B .build/kernels -DPython3_EXECUTABLE=$(which python3)\n"
        "  cmake --build .build/kernels && cmake --install .build/kernels"
    ) from error


def num_threads() -> int:
    """Threads the kernels run on: torch's, set by `torch.set_num_threads` or OMP_NUM_THREADS."""
    return torch.get_num_threads()


__all__ = ["kernels", "num_threads"]
