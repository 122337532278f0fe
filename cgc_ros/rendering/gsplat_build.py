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
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack
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
    parser.add_argument(
        "--objects",
        metavar="FOLDER",
        type=Path,
        help="keep what is compiled here, and go on with it",
    )
    parser.add_argument("--verbose", action="store_true", help="show the compiler's commands")
    arguments = parser.parse_args()
    try:
        start = time.monotonic()
        print("compiling gsplat's CUDA sources, some minutes", file=sys.stderr)
        module = build(arguments.into, arguments.objects, arguments.verbose)
    except (BuildError, OSError, RuntimeError) as error:
        print(f"gsplat was not compiled: {error}", file=sys.stderr)
        return 1
    print(f"{module}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def build(into: Path | None = None, objects: Path | None = None, verbose: bool = False) -> Path:
    """Compile into `into`, gsplat's own folder by default; the module's path.

    What compilers leave is kept in `objects` where that is given, and used again.

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
    with ExitStack() as stack:
        folder = objects or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gsplat_build_")))
        folder.mkdir(parents=True, exist_ok=True)
        cpp_extension.load(
            NAME,
            sources(package),
            extra_cflags=["-O3", "-Wno-attributes"],
            extra_cuda_cflags=["-O3", "-use_fast_math"],
            extra_include_paths=include_paths(package, home),
            build_directory=str(folder),
            is_python_module=False,
            verbose=verbose,
        )
        shutil.copyfile(folder / f"{NAME}.so", target)
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
    """gsplat's, and the toolkit's by name: CUDA 13 keeps CCCL's headers in a folder of their own.

    PyTorch's headers include those of CUDA's libraries. A toolkit of the compiler alone lacks them; then they are the
    ones that came with PyTorch, in nvidia's wheels beside it.
    """
    own = [package / "cuda" / "include", package / "cuda" / "csrc" / "third_party" / "glm"]
    toolkit = [home / "include", home / "include" / "cccl"]
    if not (home / "include" / "cublas_v2.h").exists():
        toolkit += sorted((package.parent / "nvidia").glob("*/include"))
    return [str(path) for path in own + [path for path in toolkit if path.is_dir()]]


def cuda_home() -> Path:
    """The toolkit's folder. PyTorch takes it to be two above nvcc, which is wrong where nvcc is a link or a script."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = str(Path(named) / "bin" / "nvcc") if named else shutil.which("nvcc")
    if nvcc is None or not Path(nvcc).exists():
        where = f"{nvcc} does not exist" if nvcc else "there is no nvcc on the path"
        raise BuildError(f"{where}: install the CUDA toolkit that PyTorch was built with, or set CUDA_HOME")
    above = Path(nvcc).resolve().parent.parent
    return above if (above / "include" / "cuda_runtime.h").exists() else told_by(nvcc) or above


def told_by(nvcc: str) -> Path | None:
    """The toolkit's folder as the compiler itself names it among the settings of a dry run."""
    command = [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^#\$ _HERE_=(.+)$", answer, re.MULTILINE)
    return Path(found.group(1).strip()).parent if found else None


def default_jobs() -> int:
    """One a core, as far as memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, int(memory / BYTES_PER_JOB)))


if __name__ == "__main__":
    sys.exit(main())
