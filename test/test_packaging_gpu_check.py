"""The check of a GPU, as far as it goes without one: its own code must not fail on the day when there is one."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "gpu_check.py"


def test_checks_run_in_processes_of_their_own_and_give_figures(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--cpu", "--only", "build", "parity", "profile", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build    skipped: it needs a GPU" in done.stdout and "all checks passed" in done.stdout
    found = json.loads(figures.read_text())
    assert found["parity"]["worst image difference"] < 1e-4 and found["profile"]["steps_per_second"] > 0


def test_a_check_that_is_not_finished_in_time_is_named(tmp_path):
    command = [sys.executable, str(SCRIPT), "--cpu", "--only", "parity", "--limit", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "failed: parity" in done.stdout, done.stdout + done.stderr
