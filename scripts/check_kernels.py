"""The kernels' tests under sanitizers: `make sanitize`, or `python scripts/check_kernels.py address thread`.

address: AddressSanitizer and UndefinedBehaviorSanitizer. thread: ThreadSanitizer. The kernels are built with them in
.build/sanitize/, beside a copy of the Python package, and the tests run on that copy; the source tree stays as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "cgc_ros" / "rendering" / "csrc"
BUILD = ROOT / ".build" / "sanitize"
SUPPRESSIONS = Path(__file__).with_name("check_kernels.supp")


@dataclass(frozen=True)
class Check:
    sanitizers: str  # of -fsanitize
    runtimes: tuple[str, ...]  # to be loaded before everything else: Python itself is not built with them
    levels: str  # instruction sets beside the baseline
    environment: dict[str, str]
    tests: tuple[str, ...]
    options: tuple[str, ...] = field(default=())  # of pytest


CHECKS = {
    "address": Check(
        "address,undefined",
        ("libasan.so", "libubsan.so", "libstdc++.so"),  # libstdc++: its exceptions are intercepted, too
        "x86_64_v4",  # with the baseline every path there is: the level between has none of its own
        {
            "ASAN_OPTIONS": "detect_leaks=0:exitcode=99",  # Python and torch free nothing at their end
            "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
        },
        (
            "test_rendering_cpu.py",
            "test_rendering_queries.py",
            "test_rendering_photometric.py",
            "test_mapping_training.py",
            "test_robot_silhouettes.py",
            "test_space.py",
            "test_stereo_cpu_matcher.py",
            "test_gaussians_model.py",
        ),
        ("-k", "not gsplat and not operators and not windows"),  # those know no kernels
    ),
    "thread": Check(
        "thread",
        ("libtsan.so", "libstdc++.so"),
        "",  # threads divide the work alike in all
        {"TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:exitcode=99:halt_on_error=0:report_signal_unsafe=0"},
        ("test_rendering_cpu.py", "test_mapping_training.py"),
        ("-k", "thread"),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="all where none is named")
    names = parser.parse_args().checks or list(CHECKS)
    with ThreadPoolExecutor() as pool:  # side by side: tests keep one core busy, at best
        passed = list(pool.map(lambda name: run_check(name, CHECKS[name]), names))
    failed = [name for name, is_passed in zip(names, passed, strict=True) if not is_passed]
    if failed:
        print(f"check_kernels: {', '.join(failed)}: failed", file=sys.stderr)
    return 1 if failed else 0


def run_check(name: str, check: Check) -> bool:
    started = time.monotonic()
    package = build(name, check)
    built = time.monotonic()
    environment = {
        **os.environ,
        **check.environment,
        "LD_PRELOAD": " ".join(runtime(library) for library in check.runtimes),
        "PYTHONPATH": str(package),
        "PYTHONMALLOC": "malloc",  # so that Python's own allocator hides nothing
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")),
        *(
            f"--rootdir={ROOT}",
            "--durations=3",
            "--capture=no",
            *check.options,
            *(str(ROOT / "test" / test) for test in check.tests),
        ),
    ]
    # Without address space randomisation: ThreadSanitizer's shadow memory has fixed places.
    log = BUILD / name / "test.log"
    with log.open("w") as output:
        command = ["setarch", "-R", *command]
        result = subprocess.run(command, cwd=package, env=environment, stdout=output, stderr=output)
    seconds = f"{built - started:.0f} s to build, {time.monotonic() - built:.0f} s to test"
    print(f"{log.read_text()}check_kernels: {name}: {seconds}", flush=True)
    return result.returncode == 0


def build(name: str, check: Check) -> Path:
    """The folder that holds a copy of the package with such kernels."""
    folder, package = BUILD / name / "build", BUILD / name / "package"
    shutil.rmtree(package, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "csrc")
    shutil.copytree(ROOT / "cgc_ros", package / "cgc_ros", ignore=unwanted)
    configure = [
        *("cmake", "-S", str(CSRC), "-B", str(folder), "-Wno-dev", f"-DPython3_EXECUTABLE={sys.executable}"),
        f"-DCGC_SANITIZE={check.sanitizers}",
        f"-DCGC_X86_LEVELS={check.levels}",
        f"-DCGC_KERNELS_DESTINATION={package / 'cgc_ros' / 'rendering'}",
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    log = BUILD / name / "build.log"
    with log.open("w") as output:
        for command in (
            configure,
            ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)],
            ["cmake", "--install", str(folder)],
        ):
            if subprocess.run(command, stdout=output, stderr=output, env=environment).returncode != 0:
                sys.exit(f"check_kernels: {name}: the build failed, see {log}")
    return package


def runtime(library: str) -> str:
    """Where the compiler keeps a library."""
    compiler = os.environ.get("CXX", "c++").split()
    return subprocess.run(
        [*compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
