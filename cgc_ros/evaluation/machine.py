"""The machine figures were measured on, and what this process holds of its memory."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def describe_machine() -> dict[str, object]:
    """Processor, cores this process may use, memory, GPU and versions: what a reader needs to place a figure."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def summarise_machine(machine: dict[str, object]) -> str:
    """One line for tables and pages."""
    place = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    return f"{place}, {machine['gpu']}" if machine.get("gpu") else place


def processor_name() -> str:
    """The processor's marketing name where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware", "cpu model")):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def now(device: torch.device) -> tuple[float, float]:
    """Wall and processor time, seconds, once all work that was given to the device is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def peak_gpu_mb() -> float | None:
    """Largest GPU memory torch has held in this process so far, MB (10^6 bytes); None where no GPU was used."""
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_reserved() / 1e6
