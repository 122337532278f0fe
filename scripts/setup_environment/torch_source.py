"""Where pip takes torch from: PyPI's is the CUDA build, several GB that a machine without an NVIDIA GPU never uses."""

import platform
import shutil
import subprocess
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SOURCES = ("index-url", "extra-index-url", "find-links", "no-index")  # of pip, by option, variable or file
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/etc/nv_tegra_release")
_TIMEOUT_S = 10.0


def torch_options(pip: list[str], environment: dict[str, str]) -> list[str]:
    """Options for `pip install`: PyTorch's index of CPU builds, or none; says on the screen which and why.

    None where there is an NVIDIA driver, where PyPI's build has no CUDA anyway, where pip is told its sources by the
    user, and where the index cannot be reached. CGC_TORCH=cpu or cuda says which build is wanted, whatever the driver:
    an image is made on another machine than it runs on.
    """
    wanted = environment.get("CGC_TORCH", "")
    if wanted not in ("", "cpu", "cuda"):
        raise ValueError(f"CGC_TORCH is {wanted!r}: cpu, cuda, or not set")
    has_cpu_index = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    if wanted == "cuda" or (not wanted and has_nvidia_driver()) or not has_cpu_index:
        return []
    if configured_sources(pip, environment):
        return []
    why = "CGC_TORCH=cpu" if wanted else "no NVIDIA driver found"
    if not answers(f"{CPU_INDEX}/torch/"):
        _say(f"{why}, but {CPU_INDEX} cannot be reached:")
        _say("taking PyPI's torch, the CUDA build, which works on the CPU, too")
        return []
    _say(f"{why}: taking torch's CPU build from {CPU_INDEX}")
    return ["--extra-index-url", CPU_INDEX]


def has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or any(Path(file).exists() for file in _DRIVER_FILES)


def configured_sources(pip: list[str], environment: dict[str, str]) -> list[str]:
    """What pip is configured with that says where packages come from; pip itself reads its variables and files."""
    answer = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, env=environment)
    names = (line.partition("=")[0].rpartition(".")[2] for line in answer.stdout.splitlines())
    return sorted({name for name in names if name in SOURCES})


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return True
    except OSError:  # URLError, time-outs and refused connections alike
        return False


def _say(text: str) -> None:
    print(f"           {text}", flush=True)
