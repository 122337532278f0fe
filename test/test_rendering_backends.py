"""What every backend answers: the same queries and gradients for the oracle, the CPU kernels and gsplat.

gsplat runs twice: its own Python over operators in plain PyTorch, and as it is where there is a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from gsplat_operators import gsplat_on_cpu  # noqa: F401
from rendering_scenes import Scene, outlier_share, random_scene, relative_error, render_with_gradients

from cgc_ros.rendering import available_backends, blend_weights, label_image, mask_votes, rasterize

WIDTH, HEIGHT = 36, 20


@dataclass(frozen=True)
class Backend:
    name: str
    device: str
    tolerance: float  # relative L2

    def on_device(self, scene: Scene) -> Scene:
        fields = {name: v.to(self.device) if isinstance(v, torch.Tensor) else v for name, v in vars(scene).items()}
        return Scene(**fields)


@pytest.fixture(params=["reference", "cpu", "gsplat_python", "gsplat"])
def backend(request) -> Backend:
    if request.param == "gsplat_python":
        request.getfixturevalue("gsplat_on_cpu")
        return Backend("gsplat", "cpu", 1e-4)
    if request.param == "gsplat":
        if reason := available_backends()["gsplat"]:
            pytest.skip(f"gsplat cannot run here: {reason}")
        return Backend("gsplat", "cuda", 2e-2)
    return Backend(request.param, "cpu", 1e-5)


SCENES = {
    "no Gaussian": random_scene(0, WIDTH, HEIGHT),
    "none in view": replace(random_scene(20, WIDTH, HEIGHT), means=torch.full((20, 3), -5.0)),
    "one Gaussian": random_scene(1, WIDTH, HEIGHT, seed=5, hard=False),
    "usual": random_scene(120, WIDTH, HEIGHT, seed=33, hard=False),
    "hard": random_scene(120, WIDTH, HEIGHT, seed=34),
    "a small eps2d": replace(random_scene(60, WIDTH, HEIGHT, seed=35, hard=False), eps2d=0.1),
    "no whole tiles": random_scene(40, 17, 33, seed=36),
    "one pixel": random_scene(10, 1, 1, seed=37),
}
scenes = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
FEW = ("no Gaussian", "none in view", "hard")
few_scenes = pytest.mark.parametrize("scene", [SCENES[name] for name in FEW], ids=FEW)


def double(scene: Scene) -> Scene:
    return scene.to(torch.float64)


@scenes
def test_images_and_gradients_are_the_oracles(backend, scene):
    ours = render_with_gradients(scene, torch.float32, backend.name, device=backend.device)
    truth = render_with_gradients(scene, torch.float64, "reference")
    for name, image in truth.outputs.items():
        assert outlier_share(ours.outputs[name], image, 1e-2) <= 2e-3, name
        assert relative_error(ours.outputs[name], image) <= 10 * backend.tolerance, name
    for name, gradient in truth.gradients.items():
        assert torch.isfinite(ours.gradients[name]).all(), name
        off = (ours.gradients[name] - gradient).norm()
        assert off <= 10 * backend.tolerance * gradient.norm() + 1e-6, name  # one pixel's few gradients cancel
    assert torch.equal(ours.render.radii.cpu(), truth.render.radii)


@pytest.mark.parametrize("channels", [1, 3, 31, 32, 33, 65])
def test_any_number_of_features_is_blended(backend, channels):
    scene = random_scene(60, WIDTH, HEIGHT, num_features=channels, seed=40, hard=False)
    moved = backend.on_device(scene)
    features = moved.features.requires_grad_()
    image = rasterize(*moved.gaussians, moved.camera(), features=features, backend=backend.name).features
    image.square().sum().backward()
    exact = double(scene)
    truth = rasterize(*exact.gaussians, exact.camera(), features=exact.features, backend="reference").features
    truth.square().sum().backward()
    assert image.shape == (HEIGHT, WIDTH, channels)
    assert relative_error(image.detach().cpu().double(), truth.detach()) <= backend.tolerance
    assert relative_error(features.grad.cpu().double(), exact.features.grad) <= backend.tolerance


def test_what_is_not_asked_for_is_none(backend):
    scene = backend.on_device(random_scene(30, WIDTH, HEIGHT))
    render = rasterize(*scene.gaussians, scene.camera(), backend=backend.name)
    assert render.color is render.features is render.depth is render.contribution is None
    assert render.alpha.shape == (HEIGHT, WIDTH)


@few_scenes
@pytest.mark.parametrize("labels", [1, 31, 32, 33, 70])
def test_votes_are_the_oracles_for_any_number_of_labels(backend, scene, labels):
    generator = torch.Generator().manual_seed(1)
    size = (scene.height, scene.width)
    mask = torch.randint(-1, labels + 1, size, generator=generator, dtype=torch.int32)
    moved, exact = backend.on_device(scene), double(scene)
    ours = mask_votes(*moved.gaussians, moved.camera(), mask.to(backend.device), labels, backend=backend.name)
    truth = mask_votes(*exact.gaussians, exact.camera(), mask, labels, backend="reference")
    assert ours.shape == (len(scene.means), labels)
    assert relative_error(ours.cpu(), truth) <= 10 * backend.tolerance


def test_votes_of_no_label_are_empty(backend):
    scene = backend.on_device(random_scene(10, WIDTH, HEIGHT))
    nothing = torch.full((HEIGHT, WIDTH), -1, dtype=torch.int32, device=backend.device)
    assert mask_votes(*scene.gaussians, scene.camera(), nothing, 0, backend=backend.name).shape == (10, 0)


@few_scenes
@pytest.mark.parametrize("ids", [0, 1, 31, 32, 33, 70], ids=lambda count: f"{count} ids")
def test_label_images_are_the_oracles_for_any_number_of_ids(backend, scene, ids):
    generator = torch.Generator().manual_seed(2)
    object_ids = torch.randint(0, ids + 1, (len(scene.means),), generator=generator, dtype=torch.int32) - 1
    moved, exact = backend.on_device(scene), double(scene)
    view = (*moved.gaussians, moved.camera(), object_ids.to(backend.device))
    labels, confidence, depth = (image.cpu() for image in label_image(*view, backend=backend.name))
    truth = label_image(*exact.gaussians, exact.camera(), object_ids, backend="reference")
    assert labels.dtype == torch.int32 and (labels != truth[0]).double().mean() <= 2e-3
    assert relative_error(confidence, truth[1]) <= 10 * backend.tolerance
    assert relative_error(depth, truth[2]) <= 10 * backend.tolerance
    if ids == 0:
        assert (labels == -1).all() and (confidence == 0).all()


@scenes
def test_weights_at_pixels_are_the_oracles_and_blend_to_the_render(backend, scene):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, scene.width * scene.height, (50,), generator=generator)  # in any order, with repeats
    moved, exact = backend.on_device(scene), double(scene)
    ours = blend_weights(*moved.gaussians, moved.camera(), pixels.to(backend.device), backend=backend.name)
    truth = blend_weights(*exact.gaussians, exact.camera(), pixels, backend="reference")
    difference = ours.to_sparse().to_dense().cpu() - truth.to_sparse().to_dense().float()
    assert difference.abs().sum() <= 20 * backend.tolerance * truth.values.sum() + 1e-6
    image = rasterize(*moved.gaussians, moved.camera(), features=moved.features, backend=backend.name).features
    blended = ours.blend(moved.features)
    assert relative_error(blended, image.reshape(-1, image.shape[-1])[pixels.to(backend.device)]) <= 1e-3


def test_no_pixels_weigh_nothing(backend):
    scene = backend.on_device(random_scene(10, WIDTH, HEIGHT))
    none = torch.zeros(0, dtype=torch.int64, device=backend.device)
    weights = blend_weights(*scene.gaussians, scene.camera(), none, backend=backend.name)
    assert weights.offsets.tolist() == [0] and len(weights.values) == 0
