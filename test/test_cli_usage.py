"""The command line itself: help at once, usage errors by name, settings checked, faults in one line."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cgc_ros import cli
from cgc_ros.cli.recordings import open_recording
from cgc_ros.cli.settings import describe, parse_assignments, read_settings
from cgc_ros.declared import SettingError, Settings, choice, group, number, override

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("doctor", "check", "map", "eval", "compare", "render", "export", "bench", "view", "demo")


def usage_error(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_contract_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: cgc {command}" in capsys.readouterr().out


def test_help_comes_well_within_a_second_and_imports_nothing_heavy():
    start = time.monotonic()
    script = (
        "import sys\nfrom cgc_ros.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'rich', 'rclpy', 'open3d') if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (
        time.monotonic() - start < 5
    )  # generous: the machine may be loaded; what follows is the reason why it is quick
    assert result.stderr.strip() == "[]"


def test_wrong_usage_is_named_with_status_2(capsys):
    assert "--budget: -3 is not above zero" in usage_error(capsys, "map", "x", "--out", "y", "--budget", "-3")
    assert "'fast' is not a number" in usage_error(capsys, "map", "x", "--out", "y", "--rate", "fast")
    assert "'nan' is not a finite number" in usage_error(capsys, "map", "x", "--out", "y", "--rate", "nan")
    assert "2.5 is not a whole number" in usage_error(capsys, "map", "x", "--out", "y", "--max-gaussians", "2.5")
    assert "--masks: invalid choice: 'magic'" in usage_error(capsys, "map", "x", "--out", "y", "--masks", "magic")
    assert "required: --out" in usage_error(capsys, "map", "x")
    assert "has 3 numbers, wanted 7: tx,ty,tz,qx,qy,qz,qw" in usage_error(capsys, "render", "x", "--pose", "-1,2,3")
    assert "'640' is not WxH" in usage_error(capsys, "render", "x", "--pose", "0,0,0,0,0,0,1", "--size", "640")
    assert "nothing to write" in usage_error(capsys, "export", "x")
    assert "belong to --voxels" in usage_error(capsys, "export", "x", "--ply", "y", "--ignore", "3")
    assert "'a,b' is not a list of object ids" in usage_error(capsys, "export", "x", "--ignore", "a,b")
    assert "raster takes no recording" in usage_error(capsys, "bench", "raster", "some/recording")
    assert "'/camera' is not NAME:=VALUE" in usage_error(capsys, "check", "--live", "/camera")
    assert "invalid choice" in usage_error(capsys, "mapp")


@pytest.mark.parametrize(
    "arguments", [("--pose", "-1,0,-.5,0,0,0,1"), ("--pose=-1,0,-.5,0,0,0,1",), ("--pose", "1,0,-.5,0,0,0,1")]
)
def test_a_pose_may_begin_with_a_minus(arguments, tmp_path, capsys):
    assert cli.main(["render", str(tmp_path / "none"), *arguments]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_missing_files_are_one_line_that_names_them(tmp_path, capsys):
    missing = str(tmp_path / "nowhere")
    for arguments in (
        ("map", missing, "--out", str(tmp_path / "run")),
        ("eval", missing, missing),
        ("render", missing, "--pose", "0,0,0,0,0,0,1"),
        ("export", missing, "--ply", str(tmp_path / "x.ply")),
        ("compare", missing),
        ("view", missing),
        ("bench", "pipeline", missing),
    ):
        assert cli.main(arguments) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"cgc {arguments[0]}: ") and missing in error


def test_a_bug_is_not_dressed_up_as_a_user_error(monkeypatch):
    monkeypatch.setattr("cgc_ros.evaluation.compare.load_runs", lambda paths: {}["bug"])
    with pytest.raises(KeyError):
        cli.main(["compare", "x"])


def test_ctrl_c_and_a_missing_library_are_told_in_one_line(monkeypatch, capsys):
    def interrupt(paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("cgc_ros.evaluation.compare.load_runs", interrupt)
    assert cli.main(["compare", "x"]) == 130

    def unavailable(paths):
        raise ModuleNotFoundError("No module named 'yaml'", name="yaml")

    monkeypatch.setattr("cgc_ros.evaluation.compare.load_runs", unavailable)
    assert cli.main(["compare", "x"]) == 1
    assert "yaml is not installed: `cgc doctor`" in capsys.readouterr().err


# settings


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = number(0.5, "how often", 0, 10, "Hz")
    every: int = number(4, "how rarely", 1, 100, "steps")


@dataclass(frozen=True)
class Outer(Settings):
    backend: str = choice("auto", "what computes", ("auto", "cpu"))
    up: tuple[float, float, float] = number((0.0, 0.0, 1.0), "vertical", -1, 1)
    inner: Inner = group(Inner)


def test_assignments_replace_settings_by_dotted_name():
    values = parse_assignments(["inner.rate=1e-3", "inner.every=8", "up=[0, -1, 0]", "backend=cpu"])
    assert override(Outer(), values) == Outer("cpu", (0.0, -1.0, 0.0), Inner(0.001, 8))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.rat=1", r"there is no setting inner\.rat: did you mean inner\.rate\?"),
        ("inner.every=101", r"inner\.every must be within 1\.\.100 steps, not 101"),
        ("backend=tpu", "backend must be one of auto, cpu, not 'tpu'"),
        ("inner=3", "inner is a group of settings, got 3"),
        ("rate", "--set rate: wanted NAME=VALUE"),
    ],
)
def test_an_assignment_that_does_not_fit_is_named(assignment, message):
    with pytest.raises(SettingError, match=message):
        override(Outer(), parse_assignments([assignment]))


def test_settings_files_are_yaml_or_json(tmp_path):
    (tmp_path / "a.yaml").write_text("inner: {rate: 1e-1}\nbackend: cpu\n")
    (tmp_path / "b.json").write_text('{"inner": {"rate": 0.1}, "backend": "cpu"}')
    assert (
        read_settings(tmp_path / "a.yaml")
        == read_settings(tmp_path / "b.json")
        == {"inner": {"rate": 0.1}, "backend": "cpu"}
    )
    (tmp_path / "c.yaml").write_text("- 1\n")
    (tmp_path / "d.yaml").write_text("a: [")
    (tmp_path / "e.yaml").write_text("")
    assert read_settings(tmp_path / "e.yaml") == {}
    with pytest.raises(SettingError, match="c.yaml holds a list"):
        read_settings(tmp_path / "c.yaml")
    with pytest.raises(SettingError, match="d.yaml is not readable"):
        read_settings(tmp_path / "d.yaml")


def test_settings_are_listed_by_dotted_name():
    assert ("inner.rate", "0.5") in describe(Outer())


def test_print_config_shows_what_the_options_before_it_set(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["map", "--seed", "7", "--set", "training.ssim_weight=0.25", "--print-config"])
    assert stop.value.code == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["seed"] == "7" and lines["training.ssim_weight"] == "0.25"
    assert "no setting speed" in usage_error(capsys, "map", "--set", "speed=1", "--print-config")


def test_a_recordings_reader_is_told_what_to_read():
    recording = ROOT / "demo" / "tabletop"
    whole, bare = open_recording(recording, []), open_recording(recording, ["masks_topic="])
    assert whole.has_masks and not bare.has_masks and len(bare) == len(whole)


@pytest.mark.parametrize(
    "option, message",
    [
        ("image_topic=/left", "/left"),
        ("colour=red", "has no option colour; it takes image_topic"),
        ("image_topic", "expected NAME=VALUE"),
        ("sync_tolerance_s=soon", "'soon' is not a number"),
    ],
)
def test_an_option_that_the_reader_lacks_is_named(option, message, tmp_path, capsys):
    recording = ROOT / "demo" / "tabletop"
    assert cli.main(["map", str(recording), "--out", str(tmp_path), "--read", option]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
