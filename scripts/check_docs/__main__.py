"""Run what the documentation says: `.venv/bin/python scripts/check_docs`.

Every command of README.md and docs/*.md is run in an empty folder beside the demo recording, or its parts are checked,
or it is left out for a reason that is printed. Exit status 1 where one fails or where no rule covers one.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from code_blocks import cpp_problem, python_problem
from documents import ROOT, Found, blocks, commands
from rules import as_run, missing_run, rule_for

TIMEOUT = 900.0  # seconds per command, beyond its own --budget


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="budgets as written, instead of a few seconds each")
    parser.add_argument("--only", default="", help="commands that contain this text, or of this document")
    arguments = parser.parse_args()
    failures = 0
    done: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="cgc_ros_docs_") as folder:
        environment = _prepare(Path(folder))
        for found in commands():
            if _is_wanted(found, arguments.only) and found.text not in done:
                done[found.text] = _handle(found, Path(folder), environment, not arguments.full)
                failures += done[found.text].startswith("FAILED")
    for language, check in (("python", python_problem), ("cpp", cpp_problem)):
        for found in blocks(language):
            if _is_wanted(found, arguments.only):
                failures += _say(found, f"{language} block", check(found))
    print(f"{len(done)} commands, {failures} failed")
    return 1 if failures else 0


def _is_wanted(found: Found, only: str) -> bool:
    return only in found.text or only == found.document


def _prepare(folder: Path) -> dict[str, str]:
    """A folder as a fresh checkout looks to a command, with `cgc` and `python` on its path."""
    (folder / "demo").symlink_to(ROOT / "demo")
    (folder / "bin").mkdir()
    for name, words in (("cgc", f"{sys.executable} -m cgc_ros.cli"), ("python", sys.executable)):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path}


def _handle(found: Found, folder: Path, environment: dict[str, str], quick: bool) -> str:
    """Do with a command what its rule says; a line that says how it went."""
    rule = rule_for(found.text)
    if rule is None:
        problem, what = "no rule in scripts/check_docs/rules.py covers it", ""
    elif rule.run:
        start, command = time.monotonic(), as_run(found.text, quick)
        if run := missing_run(command, folder):  # made on another page
            _run(as_run(f"cgc map RECORDING --out {run}", quick=True), folder, environment)
        problem = _run(command, folder, environment)
        what = f"ran, {time.monotonic() - start:.0f} s"
    else:
        problem = rule.problem(found.text) if rule.problem else ""
        what = f"{'parts checked' if rule.problem else 'left'}: {rule.reason}"
    _say(found, what, problem)
    return f"FAILED {problem}" if problem else what


def _say(found: Found, what: str, problem: str) -> bool:
    first = found.text.splitlines()[0]
    print(f"{found.document}:{found.line}: {first}\n    {'FAILED: ' + problem if problem else what}", flush=True)
    return bool(problem)


def _run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What went wrong; empty: nothing. `cgc view` serves until it is interrupted."""
    serves = command.startswith("cgc view")
    timeout = TIMEOUT + sum(map(float, re.findall(r"--budget (\d+)", command)))
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    output = ""
    try:
        if serves:
            output = process.stdout.readline()
            os.killpg(process.pid, signal.SIGINT)
        output += process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"did not end within {timeout:.0f} s"
    if serves and "http://" not in output:
        return f"served nothing: {output[-400:]}"
    if process.returncode not in ((0, -signal.SIGINT) if serves else (0,)):
        return f"status {process.returncode}: {output[-800:]}"
    return ""


if __name__ == "__main__":
    raise SystemExit(main())
