"""Which rasterisers there are, which can run here, and which one a call gets."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch

#: Backend -> the module that implements it: `rasterize`, `blend_weights`, `mask_votes`, `label_image`, `DEVICE` (the
#: type of device whose tensors it takes, None: any), and optionally `why_unavailable() -> str`. A new backend is one
#: new module and one line here.
BACKENDS = {
    "gsplat": "cgc_ros.rendering.gsplat_backend",
    "cpu": "cgc_ros.rendering.cpu",
    "reference": "cgc_ros.rendering.reference",
}


class BackendError(RuntimeError):
    """A backend that does not exist or cannot run; the message says why and what to do."""


def available_backends() -> dict[str, str]:
    """Every backend's name with "" where it works here, else the reason and the remedy."""
    return {name: why_unavailable(name) for name in BACKENDS}


def choose_backend(backend: str = "auto", device: torch.device | str | None = None) -> str:
    """The backend a call gets: `auto` is gsplat for CUDA tensors and cpu otherwise.

    Without a device, `auto` means the best backend of this machine: gsplat where it works, else cpu.
    """
    if backend == "auto":
        if device is None:
            backend = "cpu" if why_unavailable("gsplat") else "gsplat"
        else:
            backend = "gsplat" if torch.device(device).type == "cuda" else "cpu"
    if backend not in BACKENDS:
        raise BackendError(f"there is no rendering backend '{backend}'; choose auto, {', '.join(BACKENDS)}")
    reason = why_unavailable(backend)
    if reason:
        raise BackendError(f"the rendering backend '{backend}' cannot be used: {reason}")
    needed = backend_module(backend).DEVICE
    if device is not None and needed not in (None, torch.device(device).type):
        raise BackendError(f"the rendering backend '{backend}' takes {needed} tensors, these are on {device}")
    return backend


def device_of(backend: str) -> torch.device:
    """Where a map that `backend` renders has to be."""
    return torch.device(backend_module(backend).DEVICE or "cpu")


def backend_module(name: str) -> ModuleType:
    """The module behind a name of `BACKENDS`; it is imported here, where it is first needed."""
    return importlib.import_module(BACKENDS[name])


@functools.cache  # asked before every render; what is installed does not change meanwhile
def why_unavailable(name: str) -> str:
    """ "" where the backend works here, else the reason and the remedy."""
    module = backend_module(name)
    return module.why_unavailable() if hasattr(module, "why_unavailable") else ""
