"""The documentation: commands that somebody answers for, links that lead somewhere, examples that run."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def checks():
    """The modules of scripts/check_docs, which runs what is only checked here."""
    pytest.importorskip("rclpy", reason="needs ROS for the interfaces")
    sys.path.insert(0, str(ROOT / "scripts" / "check_docs"))
    import documents
    import rules

    yield documents, rules
    sys.path.remove(str(ROOT / "scripts" / "check_docs"))
    for name in ("documents", "rules", "interfaces"):
        sys.modules.pop(name, None)


def test_every_command_is_run_or_left_for_a_reason(checks):
    documents, rules = checks
    found = documents.commands()
    assert len(found) > 60
    for each in found:
        rule = rules.rule_for(each.text)
        assert rule is not None, f"{each.document}:{each.line}: {each.text}"
        assert rule.run or rule.reason, each.text


def test_launch_arguments_topics_services_and_fields_exist(checks):
    documents, rules = checks
    for each in documents.commands():
        rule = rules.rule_for(each.text)
        assert not (rule.problem and rule.problem(each.text)), f"{each.document}:{each.line}: {each.text}"


def cgc_commands(text):
    """What of a document is a `cgc` command, in blocks, tables and prose: subcommand and options, line by line."""
    text = re.sub(r"\\\n\s*", " ", text)
    return re.findall(
        r"(?:bin/|(?<![\w/-]))cgc (\w+)((?: [^\n`|&]*)?)",
        "\n".join(re.findall(r"`[^`\n]+`|^    .+$|^\S*cgc .+$", text, re.M)),
    )


def test_cgc_commands_are_found_wherever_they_stand():
    lines = (
        "See `cgc doctor`.",
        "    cgc map SEQ --set a=1   # why",
        ".venv/bin/cgc eval out SEQ && cgc compare a b",
        "| `cgc view DIR` | x |",
    )
    assert [name for name, _ in cgc_commands("\n".join(lines))] == ["doctor", "map", "eval", "compare", "view"]
    assert cgc_commands("`ros2 lifecycle set /cgc configure`") == []


@functools.cache
def options_of(command):
    """What `cgc COMMAND --help` says."""
    from cgc_ros import cli

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0, said.getvalue()
    return set(re.findall(r"(?<![\w-])--[\w-]+", said.getvalue()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_cgc_command_and_its_options_exist(document):
    for name, rest in cgc_commands(document.read_text()):
        if name == "COMMAND":
            continue
        options = re.findall(r"(?<=\s)--[\w-]+", re.split(r" {3,}|#", rest)[0])
        assert not (unknown := [each for each in options if each not in options_of(name)]), f"cgc {name}: {unknown}"


@pytest.mark.parametrize(
    "command",
    [
        "ros2 launch cgc_ros cgc.launch.py imagge:=/camera",
        "ros2 launch cgc_ros camera.launch.py",
        "ros2 topic echo /cgc/things",
        'ros2 service call /cgc/query_objects cgc_ros/srv/QueryObjects "{name: mug}"',
        'ros2 service call /cgc/find cgc_ros/srv/QueryObjects "{label: mug}"',
        "make coffee",
    ],
)
def test_a_wrong_command_is_noticed(checks, command):
    rule = checks[1].rule_for(command)
    assert rule.problem(command)


def anchors(document):
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_listener_prints_what_the_node_publishes(checks, tmp_path):
    from ros_rig import Rig

    listing = next(each.text for each in checks[0].blocks("python") if each.document == "robot.md")
    printed = tmp_path / "printed"
    with Rig(objects_rate=20.0) as rig, open(printed, "w") as output:
        rig.connect()
        environment = os.environ | {"ROS_DOMAIN_ID": str(rig.domain)}
        process = subprocess.Popen(
            [sys.executable, "-c", listing], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 20
            while "points" not in printed.read_text():
                assert time.monotonic() < deadline and process.poll() is None, printed.read_text()
                rig.send()
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(10)
    assert "1 unnamed: at -0.60 0.00 1.50 m, 0.20 x 0.20 x 0.20 m, 50 points" in printed.read_text()


def test_the_mask_source_of_the_documentation_is_one(checks):
    listing = next(each.text for each in checks[0].blocks("python") if each.document == "extending.md")
    names = {}
    exec(listing, names)
    masks = names["Quadrants"]().segment(np.zeros((5, 8, 3), np.uint8))
    assert masks.shape == (5, 8) and masks.dtype == np.int32 and set(np.unique(masks)) == {1, 2, 3, 4}
