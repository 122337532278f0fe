"""The single checks of `cgc doctor`. Each tries the thing itself where that is quick: installed is not yet working."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One line of the screen."""

    group: str
    name: str
    state: str  # ok | optional (absent, mapping goes on without) | missing (mapping cannot run)
    detail: str
    remedy: str = ""  # the command that gets it, or what it is good for


def check_machine(sam_checkpoint: Path | None = None) -> list[Check]:
    """Every check, in the order of the screen."""
    return [*_core(), *_rendering(), *_masks(sam_checkpoint), *_ros(), *_extras()]


def _core() -> list[Check]:
    from cgc_ros.evaluation.machine import processor_name

    checks = [Check("machine", "python", "ok", f"{platform.python_version()} on {processor_name()}")]
    checks.append(_import_check("core", "torch", "missing", "pip install torch", detail=_torch_detail))
    for module, package in _CORE_LIBRARIES.items():
        check = _import_check("core", package, "missing", f"pip install {package}", module=module)
        if check.state != "ok":
            checks.append(check)
    if len(checks) == 2:
        names = ", ".join(_CORE_LIBRARIES.values())
        checks.append(Check("core", "libraries", "ok", names))
    return checks


_CORE_LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "edt": "edt",
    "safetensors": "safetensors",
    "yaml": "PyYAML",
    "skimage": "scikit-image",
}


def _torch_detail(torch) -> str:
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}, no device found" if torch.version.cuda else "CPU build"
        threads = torch.get_num_threads()
        return f"{torch.__version__}, {built}, {threads} thread{'s' if threads > 1 else ''}"
    device = torch.cuda.get_device_properties(0)
    return f"{torch.__version__}, CUDA {torch.version.cuda}, {device.name}, {device.total_memory / 2**30:.0f} GB"


def _rendering() -> list[Check]:
    """Backends that can map. Without any, mapping cannot run; with one, the others are optional."""
    try:
        from cgc_ros.rendering import available_backends
        from cgc_ros.rendering.kernels import kernels
    except ImportError as error:  # of torch, which the libraries' checks explain
        return [Check("rendering", "cpu", "missing", str(error), "install the missing library")]
    reasons = {name: reason for name, reason in available_backends().items() if name in ("cpu", "gsplat")}
    absent = "missing" if all(reasons.values()) else "optional"
    works = {
        "cpu": lambda: f"C++ kernels, {kernels.instruction_set()}",
        "gsplat": lambda: f"{_version('gsplat')} on CUDA",
    }
    return [
        Check("rendering", name, "ok", works[name]())
        if not reason
        else Check("rendering", name, absent, "not usable here", reason)
        for name, reason in reasons.items()
    ]


def _masks(sam_checkpoint: Path | None) -> list[Check]:
    onnx = _import_check("masks", "onnxruntime", "optional", "pip install onnxruntime")
    return [_graph_masks(), *_segment_anything(sam_checkpoint), onnx]


def _graph_masks() -> Check:
    import numpy as np

    try:
        from cgc_ros.masks.graph import GraphMaskSource

        halves = np.zeros((48, 64, 3), np.uint8)
        halves[:, 32:] = 200
        GraphMaskSource().segment(halves)
    except Exception as error:  # whatever it is, the user must see it
        return Check(
            "masks", "graph", "optional", f"does not work: {type(error).__name__}: {error}", "pip install scikit-image"
        )
    return Check("masks", "graph", "ok", "built in, no weights needed")


def _segment_anything(checkpoint: Path | None) -> list[Check]:
    operators = _torchvision()
    if operators.state == "ok":
        package = _import_check("masks", "segment_anything", "optional", "pip install segment-anything")
    else:  # it imports torchvision
        package = _spec_check("masks", "segment_anything", "pip install segment-anything")
    remedy = "download weights of segment-anything, MobileSAM or SAM 2: cgc map ... --masks sam --sam-checkpoint FILE"
    if checkpoint is None:
        weights = Check("masks", "sam checkpoint", "optional", "none named (--sam-checkpoint FILE checks one)", remedy)
    elif not checkpoint.is_file():
        weights = Check("masks", "sam checkpoint", "optional", f"{checkpoint} does not exist", remedy)
    else:
        weights = Check("masks", "sam checkpoint", "ok", f"{checkpoint}, {checkpoint.stat().st_size / 1e6:.0f} MB")
    return [package, operators, weights]


def _torchvision() -> Check:
    check = _import_check("masks", "torchvision", "optional", "pip install torchvision", detail=_torchvision_detail)
    if "does not work" not in check.detail:
        return check
    import torch

    remedy = f"for sam: the torchvision made for torch {torch.__version__}, see pytorch.org/get-started"
    return replace(check, remedy=remedy)


def _torchvision_detail(torchvision) -> str:
    import torch

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)  # raises where its compiled operators do not fit this torch
    return f"{torchvision.__version__}, compiled operators work"


def _ros() -> list[Check]:
    setup = "make setup in a source checkout, or a ROS 2 Jazzy distribution: for the node, not for cgc map"
    return [
        _import_check("ros", "rclpy", "optional", setup),
        _import_check(
            "ros",
            "cgc_ros interfaces",
            "optional",
            "colcon build, or make setup",
            module="cgc_ros.msg",
            detail=_interfaces_detail,
        ),
        _import_check(
            "ros",
            "vision_msgs",
            "optional",
            "apt install ros-jazzy-vision-msgs, or make setup",
            module="vision_msgs.msg",
        ),
        _import_check(
            "ros",
            "tf2_ros",
            "optional",
            "not needed: the node's own transform buffer is used (apt install ros-jazzy-tf2-ros-py)",
        ),
        _import_check("ros", "cv_bridge", "optional", "images are converted by numpy and OpenCV instead"),
    ]


def _interfaces_detail(messages) -> str:
    messages.ObjectArray, messages.MapStatus  # noqa: B018 - AttributeError tells an incomplete build
    return "built"


def _extras() -> list[Check]:
    return [
        _import_check("extras", "rosbags", "optional", "pip install rosbags: to read rosbag2 and MCAP recordings"),
        _import_check("extras", "viser", "optional", "pip install viser: for cgc view"),
        _spec_check("extras", "open3d", "pip install open3d: for cgc export --objects"),
        _spec_check(
            "extras", "open_clip", "pip install open_clip_torch: for queries by text", package="open_clip_torch"
        ),
        _spec_check("extras", "matplotlib", "pip install matplotlib: for the plots of cgc eval and cgc compare"),
    ]


def _spec_check(group: str, name: str, remedy: str, package: str = "") -> Check:
    """Whether a module can be found; importing it would take seconds."""
    if importlib.util.find_spec(name) is None:
        return Check(group, name, "optional", "not installed", remedy)
    return Check(group, name, "ok", _version(package or name))


def _import_check(
    group: str,
    name: str,
    absent: str,
    remedy: str,
    *,
    module: str | None = None,
    detail: Callable[[object], str] | None = None,
) -> Check:
    """Import a module and tell its version."""
    try:
        found = importlib.import_module(module or name)
        text = detail(found) if detail else _version(name)
    except ModuleNotFoundError as error:
        return Check(
            group, name, absent, "not installed" if error.name == (module or name) else f"lacks {error.name}", remedy
        )
    except Exception as error:  # a broken install raises anything on import; which, the user must see
        return Check(group, name, absent, f"does not work: {type(error).__name__}: {error}", remedy)
    return Check(group, name, "ok", text)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "installed"
