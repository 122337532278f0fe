"""Compile gsplat's CUDA sources ahead of the first run: `python -m cgc_ros.rendering.gsplat_build`.

The result is gsplat's own extension module, `csrc`, beside its Python, as an installation of gsplat from source leaves
it. It fits the Python and PyTorch that compiled it. No GPU is needed where the architectures are named:

    TORCH_CUDA_ARCH_LIST="8.7;9.0" python -m cgc_ros.rendering.gsplat_build

This file imports nothing of the package, so that it also runs under the Python of another environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

NAME = "csrc"
BYTES_PER_JOB = 4e9  # memory that one of nvcc's jobs may take here


class BuildError(RuntimeError):
    """What is missing for a build, and the remedy."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--into", metavar="FOLDER", type=Path, help="put the module here (default: gsplat's own folder)"
    )
    parser.add_argument("--verbose", action="store_true", help="show the compiler's commands")
    arguments = parser.parse_args()
    try:
        start = time.monotonic()
        print("compiling gsplat's CUDA sources, some minutes", file=sys.stderr)
        module = build(arguments.into, arguments.verbose)
    except (BuildError, OSError, RuntimeError) as error:
        print(f"gsplat was not compiled: {error}", file=sys.stderr)
        return 1
    print(f"{module}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def build(into: Path | None = None, verbose: bool = False) -> Path:
    """Compile into `into`, gsplat's own folder by default; the module's path.

    Raises:
        BuildError: no gsplat, no toolkit, or no architecture to compile for.
        RuntimeError, OSError: the compiler's own failure, or a folder that cannot be written.
    """
    package = gsplat_folder()
    os.environ["CUDA_HOME"] = str(home := cuda_home())  # read when torch's cpp_extension is imported
    os.environ.setdefault("MAX_JOBS", str(default_jobs()))
    from torch.cuda import is_available
    from torch.utils import cpp_extension

    if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not is_available():
        raise BuildError("there is no GPU to compile for: name its compute capability, TORCH_CUDA_ARCH_LIST=9.0")
    into = into or package
    target = into / f"{NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not os.access(into, os.W_OK):
        raise BuildError(f"{into} cannot be written: install gsplat into an environment of your own")
    with tempfile.TemporaryDirectory(prefix="gsplat_build_") as folder:
        cpp_extension.load(
            NAME,
            sources(package),
            extra_cflags=["-O3", "-Wno-attributes"],
            extra_cuda_cflags=["-O3", "-use_fast_math"],
            extra_include_paths=include_paths(package, home),
            build_directory=folder,
            is_python_module=False,
            verbose=verbose,
        )
        shutil.move(Path(folder) / f"{NAME}.so", target)
    return target


def gsplat_folder() -> Path:
    """Of the installed package; importing it would load, or compile, what is to be built."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or not spec.submodule_search_locations:
        raise BuildError("gsplat is not installed: pip install --no-deps gsplat==1.5.3")
    return Path(spec.submodule_search_locations[0])


def sources(package: Path) -> list[str]:
    """Paths of gsplat's CUDA and C++ files; BuildError where the package holds none."""
    folder = package / "cuda"
    if not (folder / "ext.cpp").exists():
        raise BuildError(f"{folder} holds no CUDA sources: install gsplat's pure Python wheel, or gsplat from source")
    return [str(file) for file in (*sorted(folder.glob("csrc/*.cu")), *sorted(folder.glob("csrc/*.cpp")))] + [
        str(folder / "ext.cpp")
    ]


def include_paths(package: Path, home: Path) -> list[str]:
    """gsplat's, and the toolkit's by name: CUDA 13 keeps CCCL's headers in a folder of their own."""
    own = [package / "cuda" / "include", package / "cuda" / "csrc" / "third_party" / "glm"]
    toolkit = [home / "include", home / "include" / "cccl"]
    return [str(path) for path in own + [path for path in toolkit if path.is_dir()]]


def cuda_home() -> Path:
    """The toolkit's folder. PyTorch takes it to be two above nvcc, which is wrong where nvcc is a link."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = str(Path(named) / "bin" / "nvcc") if named else shutil.which("nvcc")
    if nvcc is None or not Path(nvcc).exists():
        where = f"{nvcc} does not exist" if nvcc else "there is no nvcc on the path"
        raise BuildError(f"{where}: install the CUDA toolkit that PyTorch was built with, or set CUDA_HOME")
    return Path(nvcc).resolve().parent.parent


def default_jobs() -> int:
    """One a core, as far as memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, int(memory / BYTES_PER_JOB)))


if __name__ == "__main__":
    sys.exit(main())
