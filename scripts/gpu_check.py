#!/usr/bin/env python3
"""The product on a GPU, in one call of at most eight minutes: is it right, how fast is it, what does it hold.

    python scripts/gpu_check.py [--json FILE] [--only NAME ...]
    python scripts/gpu_check.py --wheels DIR       a bare machine with torch and nvcc: installs what DIR holds, offline
    python scripts/gpu_check.py --cpu              what can be checked without a GPU, in under two minutes

Every check runs in a process of its own. Ends with a table of figures beside their targets; exits with 1 where a
check fails, 2 where gsplat cannot run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / ".build" / "gpu_check"  # where --wheels are installed

LIMIT_S = 480


@dataclass(frozen=True)
class Check:
    """One process. Its figures are the JSON object that it prints last."""

    name: str
    about: str
    limit: float  # seconds on a GPU
    on_cpu: bool = True  # can run, if slower, with --cpu


CHECKS = (
    Check("build", "gsplat's CUDA sources compile for this GPU", 240, on_cpu=False),
    Check("tests", "every backend's queries and gradients, the training step", 120),
    Check("parity", "large scenes on gsplat and on the CPU", 60),
    Check("speed", "rasteriser, training steps, label images, memory of 1M Gaussians", 90, on_cpu=False),
    Check("stereo", "depth from parallax on both devices", 30),
    Check("map", "cgc map and cgc eval on the demo's recording", 100),
    Check("paper", "the paper's recipe on the demo's recording, steps a second", 40, on_cpu=False),
    Check("node", "cgc demo --measure: latencies of the running node", 90, on_cpu=False),
    Check("sam", "segment-anything at 1280x720, random weights", 40),
    Check("memory", "an out-of-memory made on purpose, and mapping after it", 40, on_cpu=False),
    Check("profile", "where a training step's time goes", 30),
)


@dataclass(frozen=True)
class Target:
    check: str
    figure: str
    about: str
    bound: float
    at_least: bool = False


TARGETS = (
    Target("map", "psnr", "PSNR of held-out views, dB", 33.0, at_least=True),
    Target("map", "steps_per_second", "training steps a second", 15.0, at_least=True),
    Target("node", "images_used_hz", "images a second end to end, with masks", 15.0, at_least=True),
    Target("node", "label_latency_ms_p95", "label image, p95, ms", 50.0),
    Target("node", "query_200_ms_p95", "query of 200 objects, p95, ms", 10.0),
    Target("speed", "million_gaussians_mb", "1M Gaussians, MB of GPU memory", 4000.0),
    Target("paper", "minutes_of_30000_steps", "30,000 steps of the paper's recipe, minutes", 10.0),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures here")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=[check.name for check in CHECKS])
    parser.add_argument("--wheels", metavar="DIR", type=Path, help="install these wheels first, without a network")
    parser.add_argument("--cpu", action="store_true", help="what needs no GPU")
    parser.add_argument("--limit", metavar="S", type=float, default=LIMIT_S, help="seconds for all (default: 480)")
    arguments = parser.parse_args()
    start = time.monotonic()
    if arguments.wheels:
        install(arguments.wheels)
    found, failed = {}, []
    for check in CHECKS:
        if arguments.only and check.name not in arguments.only:
            continue
        left = arguments.limit - (time.monotonic() - start)
        if arguments.cpu and not check.on_cpu:
            print(f"{check.name:8} skipped: it needs a GPU", flush=True)
        elif left < 5:
            print(f"{check.name:8} skipped: the time of all is over", flush=True)
            failed.append(check.name)
        else:
            found[check.name] = run(check, arguments.cpu, left if arguments.cpu else min(check.limit, left))
            failed += [check.name] if "failed" in found[check.name] else []
            if check.name == "build" and failed:
                break
    found["seconds"] = round(time.monotonic() - start)
    if not arguments.cpu:  # the targets are of a GPU
        print_targets(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    print(f"{found['seconds']} s; " + (f"failed: {', '.join(failed)}" if failed else "all checks passed"))
    return 2 if "build" in failed else 1 if failed else 0


def run(check: Check, cpu: bool, limit: float) -> dict:
    """The check's figures; with `failed`, why, where it did."""
    command = [sys.executable, str(ROOT / "scripts" / "gpu_checks"), check.name, *(["--cpu"] if cpu else [])]
    print(f"{check.name:8} {check.about} ...", end=" ", flush=True)
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
            done = subprocess.run(
                command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=limit, check=False
            )
    except subprocess.TimeoutExpired:
        print(f"took more than {limit:.0f} s", flush=True)
        return {"failed": f"took more than {limit:.0f} s"}
    seconds = round(time.monotonic() - start, 1)
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not last.startswith("{"):
        print(f"FAILED, {seconds} s\n{done.stdout[-3000:]}{done.stderr[-3000:]}", flush=True)
        return {"failed": (done.stderr.strip() or done.stdout.strip())[-300:], "seconds": seconds}
    figures = json.loads(last)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, int | float))
    print(f"{seconds} s: {shown or figures.get('skipped', 'passed')}", flush=True)
    return figures | {"seconds": seconds}


def install(wheels: Path) -> None:
    """All of them beside the interpreter's own packages, which keep their torch."""
    files = sorted(str(file) for file in wheels.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(SITE), *files], check=True)


def environment() -> dict[str, str]:
    paths = [str(ROOT), str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PATH": f"{SITE}/bin:{os.environ['PATH']}"}


def print_targets(found: dict) -> None:
    """The table of figures beside their targets; what was not measured is a dash."""
    print(f"\n{'figure':50} {'found':>10} {'target':>12}")
    for target in TARGETS:
        value = found.get(target.check, {}).get(target.figure)
        bound = f"{'>=' if target.at_least else '<='} {target.bound:g}"
        met = value is not None and (value >= target.bound if target.at_least else value <= target.bound)
        shown = "-" if value is None else f"{value:.4g}"
        print(f"{target.about:50} {shown:>10} {bound:>12} {'' if value is None else 'met' if met else 'MISSED'}")


if __name__ == "__main__":
    sys.exit(main())
