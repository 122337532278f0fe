"""`make setup`: steps run once per state of their inputs, and failures say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[1] / "scripts" / "setup_environment"


@pytest.fixture
def setup_modules(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SETUP))
    import prerequisites
    import ros_wheels
    import runner

    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(runner, "LOGS", tmp_path / "logs")
    yield prerequisites, ros_wheels, runner
    for name in ("prerequisites", "ros_wheels", "runner"):
        del sys.modules[name]


def test_a_step_runs_again_only_when_an_input_changed(setup_modules, tmp_path):
    runner = setup_modules[2]
    source, runs = tmp_path / "source", []
    source.mkdir()
    (source / "a.msg").write_text("int32 x")
    step = runner.Step("interfaces", "building", [source], runs.append, "")
    for content in ("int32 x", "int32 x", "int32 y", "int32 y"):
        (source / "a.msg").write_text(content)
        runner.Runner().run(step)
    assert len(runs) == 2
    (source / "b.msg").write_text("")
    runner.Runner().run(step)
    assert len(runs) == 3


def test_a_failed_step_shows_its_output_and_advice_and_runs_again(setup_modules, tmp_path):
    runner = setup_modules[2]
    command = [sys.executable, "-c", "print('no such wheel'); raise SystemExit(3)"]
    step = runner.Step("ros", "installing", [], lambda log: runner.run_logged(command, log, {}), "Check the network.")
    for _ in range(2):
        with pytest.raises(
            runner.SetupError, match=r"(?s)installing: failed.*no such wheel.*code 3.*Check the network"
        ):
            runner.Runner().run(step)


def test_failures_in_the_background_are_raised_after_the_foreground(setup_modules):
    runner = setup_modules[2]
    done = []

    def fail(log: Path) -> None:
        raise runner.SetupError("the compiler said no")

    with pytest.raises(runner.SetupError, match="the compiler said no"):
        with runner.Runner().in_background([runner.Step("a", "building", [], fail, "")]):
            done.append("foreground")
    assert done == ["foreground"]


def test_a_sourced_distribution_does_not_reach_the_steps(setup_modules, monkeypatch):
    runner = setup_modules[2]
    for name in runner.FOREIGN_VARIABLES:
        monkeypatch.setenv(name, "/opt/ros/jazzy")
    assert not set(runner.FOREIGN_VARIABLES) & runner.base_environment().keys()
    assert runner.venv_environment()["AMENT_PREFIX_PATH"] == str(runner.VENV)


def test_makefile_drops_the_same_variables(setup_modules):
    dropped = {
        name
        for line in (SETUP.parents[1] / "Makefile").read_text().splitlines()
        if line.startswith("unexport")
        for name in line.split()[1:]
    }
    assert dropped == set(setup_modules[2].FOREIGN_VARIABLES)


def test_header_folders_of_the_wheels_builder_are_replaced(setup_modules, tmp_path):
    exported = tmp_path / "std_msgs" / "cmake" / "export.cmake"
    exported.parent.mkdir(parents=True)
    python, numpy = "/opt/python/cp312-cp312/include/python3.12", "lib/python3.12/site-packages/numpy/_core/include"
    exported.write_text(f'INCLUDE "{python};/opt/python/cp312-cp312/{numpy}"')
    for changed in (1, 0):
        assert setup_modules[1].repair_include_paths(tmp_path, "/usr/include/python3.12", "/env/numpy") == changed
    assert exported.read_text() == 'INCLUDE "/usr/include/python3.12;/env/numpy"'


def test_missing_libraries_are_named_with_the_command_that_installs_them(setup_modules, monkeypatch, tmp_path):
    prerequisites, _, runner = setup_modules
    monkeypatch.setattr(prerequisites, "RUNTIME_LIBRARIES", {"libnothere.so.7": "libnothere7"})
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 1000)
    with pytest.raises(runner.SetupError, match="sudo apt-get install -y libnothere7"):
        prerequisites.ensure_prerequisites(tmp_path / "log")


def test_a_compiler_that_does_not_compile_counts_as_missing(setup_modules, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    assert "g++" in setup_modules[0].missing_packages()


@pytest.mark.parametrize("version", [(3, 9), (3, 14), (4, 0)])
def test_an_unsupported_python_is_told_which_ones_work(version):
    code = f"import runpy, sys; sys.version_info = {(*version, 0)}; runpy.run_path({str(SETUP)!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "CPython 3.10 to 3.13" in result.stderr and "make setup PYTHON=" in result.stderr


@pytest.fixture
def torch_source(monkeypatch):
    """On a PC without an NVIDIA driver whose pip nobody configured."""
    monkeypatch.syspath_prepend(str(SETUP))
    import torch_source

    monkeypatch.setattr(torch_source, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(torch_source.platform, "system", lambda: "Linux")
    monkeypatch.setattr(torch_source.platform, "machine", lambda: "x86_64")
    yield torch_source
    del sys.modules["torch_source"]


def pip_configured(*lines: str) -> list[str]:
    return [sys.executable, "-c", f"print({chr(10).join(lines)!r})"]


def test_without_a_driver_torch_comes_from_its_cpu_index(torch_source, monkeypatch, capsys):
    monkeypatch.setattr(torch_source, "answers", lambda url: True)
    options = torch_source.torch_options(pip_configured("global.cert='/etc/ssl/ca.crt'"), {})
    assert options == ["--extra-index-url", torch_source.CPU_INDEX]
    assert "no NVIDIA driver found: taking torch's CPU build" in capsys.readouterr().out


def test_an_index_that_does_not_answer_is_said_and_left_out(torch_source, monkeypatch, capsys):
    monkeypatch.setattr(torch_source, "CPU_INDEX", "http://127.0.0.1:9")  # discard: nobody listens
    assert torch_source.torch_options(pip_configured(), {}) == []
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["global.find-links='/wheels'", ":env:.index-url='https://mirror'", "user.no-index='1'"]
)
def test_sources_that_the_user_configured_are_left_alone(torch_source, monkeypatch, line):
    monkeypatch.setattr(torch_source, "answers", lambda url: pytest.fail("asked the network"))
    assert torch_source.torch_options(pip_configured(line), {}) == []


def test_with_a_driver_or_where_pypi_has_no_cuda_build_nothing_is_added(torch_source, monkeypatch):
    monkeypatch.setattr(torch_source, "answers", lambda url: True)
    monkeypatch.setattr(torch_source.platform, "machine", lambda: "aarch64")
    assert torch_source.torch_options(pip_configured(), {}) == []
    monkeypatch.setattr(torch_source.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch_source, "has_nvidia_driver", lambda: True)
    assert torch_source.torch_options(pip_configured(), {}) == []


def test_a_build_that_is_asked_for_is_taken_whatever_the_driver(torch_source, monkeypatch):
    monkeypatch.setattr(torch_source, "answers", lambda url: True)
    assert torch_source.torch_options(pip_configured(), {"CGC_TORCH": "cuda"}) == []
    monkeypatch.setattr(torch_source, "has_nvidia_driver", lambda: True)
    assert torch_source.torch_options(pip_configured(), {"CGC_TORCH": "cpu"}) == [
        "--extra-index-url",
        torch_source.CPU_INDEX,
    ]
    with pytest.raises(ValueError, match="CGC_TORCH is 'rocm'"):
        torch_source.torch_options(pip_configured(), {"CGC_TORCH": "rocm"})
