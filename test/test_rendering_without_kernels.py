"""A build without the C++ kernels (CGC_KERNELS=OFF), in a process of its own in which they cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HIDE = "import sys; sys.modules['cgc_ros.rendering._kernels'] = None\n"


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", HIDE + code], cwd=ROOT, capture_output=True, text=True)


def test_every_module_outside_the_ros_room_imports():
    code = """
import importlib, pkgutil, cgc_ros
for module in pkgutil.walk_packages(cgc_ros.__path__, "cgc_ros."):
    if not module.name.startswith(("cgc_ros.ros", "cgc_ros.msg", "cgc_ros.srv")) and "__main__" not in module.name:
        if not module.name.endswith("_kernels"):
            importlib.import_module(module.name)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_the_cpu_backend_names_reason_and_remedy():
    code = """
from cgc_ros.rendering import BackendError, available_backends, choose_backend
assert "make setup" in available_backends()["cpu"] and available_backends()["reference"] == ""
for device in ("cpu", None):
    try:
        choose_backend("auto", device)
    except BackendError as error:
        print(device, error)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("'cpu' cannot be used") == 2 and "make setup" in result.stdout


def test_a_map_is_rendered_compared_and_moved_by_torch():
    """One step on one Gaussian that is too dark: colour, weights, loss and Adam, none of them by kernels."""
    code = """
import torch
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.gaussians.optimizer import GaussianAdam
from cgc_ros.rendering import Camera, blend_weights, photometric_loss, rasterize

camera = Camera(16, 16, 16.0, 16.0, 8.0, 8.0, torch.eye(4))
means, quats = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
scales, opacities = torch.full((1, 3), 0.5), torch.tensor([0.9])
colors = torch.full((1, 3), 0.2, requires_grad=True)
view = rasterize(means, quats, scales, opacities, camera, colors=colors, backend="reference")
photometric_loss(view.color, torch.ones(16, 16, 3)).backward()
assert (colors.grad < 0).all()

weights = blend_weights(means, quats, scales, opacities, camera, torch.tensor([8 * 16 + 8]), backend="reference")
assert torch.allclose(weights.blend(colors.detach())[0], view.color[8, 8].detach(), atol=1e-5)

model = GaussianModel()
model.append(GaussianSeeds(means, quats, scales, opacities, colors.detach()), step=0)
before = model.sh.clone()
GaussianAdam(model).step({"sh": colors.grad[:, None]}, {"sh": 0.01})
assert (model.sh > before).all()
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_stereo_in_main_memory_is_done_by_torch():
    code = """
import numpy as np
from cgc_ros.frame import Intrinsics
from cgc_ros.stereo.matcher import StereoView
from cgc_ros.stereo.plane_sweep import stereo_depth
image, moved = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), np.eye(4)
moved[0, 3] = 0.1
views = [StereoView(image, Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5), pose) for pose in (np.eye(4), moved)]
assert stereo_depth(views[0], views[1:]).depth.shape == (48, 64)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
