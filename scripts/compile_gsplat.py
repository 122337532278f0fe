#!/usr/bin/env python3
"""Which pairs of gsplat and PyTorch compile with this machine's CUDA toolkit. No GPU is needed.

    python scripts/compile_gsplat.py FOLDER                                  the pair of requirements/
    python scripts/compile_gsplat.py FOLDER --torch 2.13.0 2.14.1 --gsplat 1.5.3

Each PyTorch, a CUDA build of several GB, has an environment of its own in FOLDER, made by the Python that runs this; so
the versions must be ones that it has wheels for. What was compiled stays there: an interrupted run goes on with it. A
pair compiles where all of gsplat's sources do and the module loads in its environment, with all that the product
calls. Ends with a table, also in FOLDER/pairs.json; exits with 1 where a pair does not compile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "cgc_ros" / "rendering" / "gsplat_build.py"
LIBRARY = ROOT / "cgc_ros" / "rendering" / "gsplat_library.py"

#: Run by the environment's Python: what it holds, and whether the compiled module loads there.
LOOK = f"""
import importlib, importlib.util, json
spec = importlib.util.spec_from_file_location("gsplat_library", {str(LIBRARY)!r})
library = importlib.util.module_from_spec(spec)
spec.loader.exec_module(library)
loads = library.load_compiled()
print(json.dumps({{"loads": loads, "lacks": library.lacking_in(importlib.import_module("gsplat"))}}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="for environments and what is compiled")
    parser.add_argument("--gsplat", metavar="VERSION", nargs="+", default=[pinned("gpu.txt", "gsplat")])
    parser.add_argument("--torch", metavar="VERSION", nargs="+", default=[pinned("core.txt", "torch")])
    parser.add_argument("--architectures", metavar="LIST", default="9.0", help='compute capabilities, "8.7;9.0"')
    parser.add_argument("--jobs", metavar="N", type=int, help="compilers at once (default: what memory allows)")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for torch in arguments.torch:
        for gsplat in arguments.gsplat:
            found.append(compile_pair(folder, gsplat, torch, arguments.architectures, arguments.jobs))
            (folder / "pairs.json").write_text(json.dumps(found, indent=1))
    print_table(found)
    return 0 if all(pair["compiles"] for pair in found) else 1


def pinned(file: str, package: str) -> str:
    """A version that requirements/ names."""
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    return next(line.partition("==")[2].strip() for line in lines if line.startswith(f"{package}=="))


def compile_pair(folder: Path, gsplat: str, torch: str, architectures: str, jobs: int | None) -> dict:
    """What became of a pair; `compiles`, and where it does not, `error`."""
    pair = {"gsplat": gsplat, "torch": torch, "architectures": architectures, "toolkit": toolkit(), "compiles": False}
    start = time.monotonic()
    print(f"gsplat {gsplat} with PyTorch {torch}: making its environment", flush=True)
    try:
        python = environment(folder, gsplat, torch)
        pair["cuda"] = ask(python, "import torch; print(torch.version.cuda)")
        if pair["cuda"] == "None":
            return pair | {"error": "this PyTorch is a build without CUDA"}
        objects = folder / f"objects-gsplat-{gsplat}-torch-{torch}"
        settings = {"TORCH_CUDA_ARCH_LIST": architectures} | ({"MAX_JOBS": str(jobs)} if jobs else {})
        pair["error"] = build(python, objects, settings)
        pair["files"] = len(list(objects.glob("*.o")))
        if not pair["error"]:
            looked = json.loads(ask(python, LOOK))
            pair |= looked | {"compiles": looked["loads"] and not looked["lacks"]}
    except subprocess.CalledProcessError as error:
        pair["error"] = f"{' '.join(map(str, error.cmd))[:200]}: {(error.stderr or '').strip()[-500:]}"
    return pair | {"seconds": round(time.monotonic() - start)}


def toolkit() -> str:
    """The release of the nvcc that is found first, "" where there is none."""
    try:
        answer = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    found = re.search(r"release ([\d.]+)", answer)
    return found.group(1) if found else ""


def environment(folder: Path, gsplat: str, torch: str) -> Path:
    """The Python of an environment with both. `===` refuses builds without CUDA: their versions have a suffix."""
    home = folder / f"torch-{torch}"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"torch==={torch}", "numpy", "ninja", "setuptools"], check=True)
    subprocess.run([*pip, "--no-deps", f"gsplat=={gsplat}"], check=True)
    return python


def build(python: Path, objects: Path, settings: dict[str, str]) -> str:
    """Compile; the first error, "" where there is none. All that the compilers say is in OBJECTS/build.log."""
    objects.mkdir(exist_ok=True)
    variables = os.environ | settings | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    command = [str(python), str(BUILD), "--objects", str(objects), "--verbose"]
    lines = []
    with (
        (objects / "build.log").open("w") as log,
        subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running,
    ):
        for line in running.stdout or ():
            log.write(line)
            lines.append(line.strip())
            if step := re.match(r"\[(\d+)/(\d+)\].* -c \S*?([^/\s]+) -o", line):
                print(f"  {step[1]} of {step[2]}: {step[3]}", flush=True)
    if running.returncode == 0:
        return ""
    errors = [line for line in lines if re.search(r"\berror\b", line)]
    return (errors or lines or [f"it ended with {running.returncode}"])[0 if errors else -1]


def ask(python: Path, code: str) -> str:
    command = [str(python), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def print_table(found: list[dict]) -> None:
    row = "{:8} {:10} {:6} {:8} {:14} {:>5} {:>8}  {}"
    print("\n" + row.format("gsplat", "PyTorch", "CUDA", "toolkit", "architectures", "files", "seconds", "compiles"))
    for pair in found:
        verdict = "yes" if pair["compiles"] else f"no: {pair.get('error') or pair.get('lacks') or 'it does not load'}"
        shown = (pair.get(name, "-") or "-" for name in ("gsplat", "torch", "cuda", "toolkit", "architectures"))
        print(row.format(*shown, pair.get("files", 0), pair.get("seconds", 0), verdict))


if __name__ == "__main__":
    sys.exit(main())
