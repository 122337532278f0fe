"""gsplat as a library: whether it is here, what it offers, and its compiled operators, never built on the way.

gsplat's wheel is Python and CUDA sources. Left to itself it compiles them at the first call, for minutes, and reports
on stdout. Here they are loaded where they were built ahead (`gsplat_build.py`, or a gsplat that was installed from
source), and missing otherwise.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from types import ModuleType

import torch

#: What is called of gsplat, by the parameters that its versions must have in common.
NEEDED = {
    "fully_fused_projection": {"means", "quats", "scales", "viewmats", "Ks", "eps2d", "packed", "opacities"},
    "isect_tiles": {"means2d", "radii", "depths", "tile_size", "tile_width", "tile_height"},
    "isect_offset_encode": {"isect_ids", "n_images", "tile_width", "tile_height"},
    "rasterize_to_pixels": {"means2d", "conics", "colors", "opacities", "isect_offsets", "flatten_ids"},
    "rasterize_to_indices_in_range": {"range_start", "range_end", "transmittances", "isect_offsets", "flatten_ids"},
    "spherical_harmonics": {"degrees_to_use", "coeffs", "masks"},
    "cuda._wrapper.adam": {"param", "param_grad", "exp_avg", "exp_avg_sq", "valid", "lr", "b1", "b2", "eps"},
}

#: The extension module that a build of gsplat adds to its Python.
COMPILED = "gsplat.csrc"

INSTALL = "pip install --no-deps gsplat==1.5.3"
BUILD = "python -m cgc_ros.rendering.gsplat_build"


def why_unavailable() -> str:
    """ "" where gsplat can run, else the reason and the remedy."""
    if not has_gpu():
        return "PyTorch sees no CUDA GPU (needed: an NVIDIA GPU with its driver, and a CUDA build of PyTorch)"
    if importlib.util.find_spec("gsplat") is None:
        return f"gsplat is not installed: {INSTALL}, then {BUILD}"
    try:
        if not load_compiled():
            return f"gsplat's CUDA kernels are not compiled: {BUILD} (some minutes, once; it needs the CUDA toolkit)"
    except (ImportError, OSError, RuntimeError) as error:
        return f"gsplat's CUDA kernels cannot be loaded ({error}): compile them for this PyTorch by {BUILD}"
    try:
        lacking = lacking_in(importlib.import_module("gsplat"))
    except (ImportError, OSError, RuntimeError) as error:
        return f"gsplat cannot be imported ({error}): {INSTALL}"
    return f"this gsplat lacks {lacking}: {INSTALL}" if lacking else ""


def has_gpu() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def compiled_spec() -> ModuleSpec | None:
    """Where the compiled operators are. Found without importing gsplat, some versions of which load them at once."""
    package = importlib.util.find_spec("gsplat")
    return package and PathFinder.find_spec(COMPILED, package.submodule_search_locations)


def load_compiled() -> bool:
    """Load the compiled operators, so that gsplat finds them; False where there are none.

    Raises:
        ImportError, OSError: they do not fit this Python or PyTorch.
    """
    if COMPILED in sys.modules:
        return True
    spec = compiled_spec()
    if spec is None or spec.loader is None:
        return False
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[COMPILED] = module
    return True


def lacking_in(gsplat: ModuleType) -> str:
    """What `NEEDED` asks for and this gsplat does not have, as text; "" where it has all."""
    found = []
    for name, parameters in NEEDED.items():
        try:
            function = attrgetter(name)(gsplat)
        except AttributeError:
            found.append(name)
            continue
        if missing := parameters - inspect.signature(function).parameters.keys():
            found.append(f"{name}({', '.join(sorted(missing))})")
    return ", ".join(found)
