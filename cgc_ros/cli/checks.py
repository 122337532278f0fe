"""The single checks of `cgc doctor`. Each tries the thing itself where that is quick, instead of asking whether it is installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One line of the screen."""

    group: str
    name: str
    state: str  # ok | optional (absent, mapping goes on without) | missing (mapping cannot run)
    detail: str
    remedy: str = ""  # the command that gets it, or what it is good for


def check_machine(sam_checkpoint: Path | None = None) -> list[Check]:
    """Every check, in the order of the screen."""
    return [*_core(), *_rendering(), *_masks(sam_checkpoint), *_ros(), *_extras()]


def _core() -> list[Check]:
    from cgc_ros.evaluation.machine import processor_name

    checks = [Check("machine", "python", "ok", f"{platform.python_version()} on {processor_name()}")]
    checks.append(_import_check("core", "torch", "missing", "pip install torch", detail=_torch_detail))
    for module, package in _CORE_LIBRARIES.items():
        check = _import_check("core", package, "missing", f"pip install {package}", module=module)
        if check.state != "ok":
            checks.append(check)
    if len(checks) == 2:
        names = ", ".join(_CORE_LIBRARIES.values())
        checks.append(Check("core", "libraries", "ok", names))
    return checks


_CORE_LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "cv2": "opencv-python-headless", "safetensors": "safetensors", "yaml": "PyYAML",
    "skimage": "scikit-image",
}


def _torch_detail(torch) -> str:
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}, no device found" if torch.version.cuda else "CPU build"
        return f"{torch.__version__}, {built}, {torch.get_num_threads()} threads"
    device = torch.cuda.get_device_properties(0)
    return f"{torch.__version__}, CUDA {torch.version.cuda}, {device.name}, {device.total_memory / 2**30:.0f} GB"


def _rendering() -> list[Check]:
    try:
        from cgc_ros.rendering import available_backends
    except ImportError as error:
        return [Check("rendering", "backends", "missing", f"cannot be imported: {error}", "pip install --force-reinstall cgc_ros")]
    available = available_backends()
    return [_cpu_backend("cpu" in available), _gsplat_backend("gsplat" in available)]


def _import_check(
    group: str, name: str, absent: str, remedy: str, *, module: str | None = None, detail: Callable[[object], str] | None = None,
) -> Check:
    """Import a module and tell its version."""
    try:
        found = importlib.import_module(module or name)
    except Exception as error:  # a broken install raises anything on import; which, the user must see
        return Check(group, name, absent, f"cannot be imported: {type(error).__name__}: {error}", remedy)
    return Check(group, name, "ok", detail(found) if detail else _version(name))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed"
