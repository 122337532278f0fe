"""What is done with each command of the documentation: run it, check its parts, or leave it, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import interfaces
from documents import ROOT

#: Words of the documents that stand for a user's own.
STAND_INS = {
    "RECORDING": "demo/tabletop",
    "SEQ": "demo/tabletop",
    "out/other": "out/run",
}
#: Seconds that a longer `--budget` is cut to, unless all is run as written; the paper's recipe starts after all frames.
QUICK_BUDGET, QUICK_PAPER_BUDGET = 8, 30


@dataclass(frozen=True)
class Rule:
    """For commands that match: `run` them, or report `problem(command)`, or only the reason why neither is done."""

    pattern: str
    run: bool = False
    problem: Callable[[str], str] | None = None
    reason: str = ""


def _make_problem(command: str) -> str:
    target = command.split()[1]
    return "" if re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) else f"no target {target}"


_DISTRIBUTION = "needs a machine with a ROS distribution"
RULES = (
    Rule(r"cgc demo", reason="test/test_ros_demo.py plays it"),
    Rule(r"cgc bench", problem=lambda command: "", reason="takes minutes; test/test_rendering_bench.py runs it small"),
    Rule(r"cgc check --live", reason="needs a robot; test/test_ros_live_observer.py runs it beside a camera"),
    Rule(r"cgc .*--sam-checkpoint", reason="needs weights; test/test_masks_sam.py runs it with random ones"),
    Rule(r"cgc export DIR --ply FILE$", reason="stands for the commands below it"),
    Rule(r"cgc (eval|compare|render) DIR", reason="stands for the commands below it"),
    Rule(r"cgc (map SEQ --out DIR|view DIR|bench raster\|pipeline)$", reason="stands for the commands below it"),
    Rule(r"cgc map .*--config settings.yaml", reason="test/test_cli_usage.py reads settings from a file"),
    Rule(r"cgc ", run=True),
    Rule(r"make ", problem=_make_problem, reason="this script runs inside what make set up"),
    Rule(r"ros2 launch cgc_ros ", problem=interfaces.launch_problem, reason=_DISTRIBUTION),
    Rule(r"ros2 service call ", problem=interfaces.service_problem, reason=_DISTRIBUTION),
    Rule(r"ros2 topic ", problem=interfaces.topic_problem, reason=_DISTRIBUTION),
    Rule(r"ros2 ", reason=_DISTRIBUTION),
    Rule(r"(sudo|rosdep|PIP_BREAK\S+ rosdep) ?", reason=_DISTRIBUTION),
    Rule(r"colcon build", reason=f"{_DISTRIBUTION}; test/test_packaging_colcon.py builds the package"),
    Rule(r"(source|export|mkdir) ", reason="changes the shell that it is typed in"),
    Rule(r"git clone", reason="<this repository> stands for its address"),
    Rule(r"pip install", reason="changes the system's Python"),
    Rule(r"python3\.11 -m venv out/bpy|PYTHONPATH=scripts ", reason="renders for 47 minutes, with Blender"),
    Rule(
        r"PYTHONPATH=\.:scripts python -m mask_weights",
        reason="takes minutes; test/test_masks_weights.py runs its parts",
    ),
    Rule(r".venv/bin/python scripts/check_docs", reason="is this script"),
    Rule(r".venv/bin/python scripts/make_pictures", reason="takes minutes and needs Chromium"),
    Rule(r".venv/bin/python scripts/viewer_cost.py", reason="takes minutes"),
    Rule(r"(.venv/bin/)?(python|cgc) ", run=True),
)


def rule_for(command: str) -> Rule | None:
    """The first that fits; None: the documentation has a command that nobody answers for."""
    return next((rule for rule in RULES if re.match(rule.pattern, command)), None)


def as_run(command: str, quick: bool) -> str:
    """The command with stand-ins for what is a user's own, and shorter budgets where `quick`."""
    command = re.sub(r"^\.venv/bin/", "", command)
    for word, stand_in in STAND_INS.items():
        command = re.sub(rf"(?<![\w/.-]){re.escape(word)}(?![\w/.-])", stand_in, command)
    if quick and command.startswith("cgc map") and "--print-config" not in command:
        budget = QUICK_PAPER_BUDGET if "--recipe paper" in command else QUICK_BUDGET
        command = re.sub(r" --budget \d+", "", command) + f" --budget {budget}"
    return command


def missing_run(command: str, folder: Path) -> str | None:
    """The first run's folder that a command reads and that nothing has made yet; None: all are there."""
    if not command.startswith(("cgc eval", "cgc compare", "cgc render", "cgc export", "cgc view")):
        return None
    written = re.findall(r"--(?:html|ply|objects|out) (\S+)", command)
    read = [word for word in command.split() if re.match(r"(out|runs)/", word) and word not in written]
    return next((word for word in read if not (folder / word).exists()), None)
