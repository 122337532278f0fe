"""gsplat on CUDA against the CPU kernels, where there is a GPU; our code around it, and its absence, everywhere."""

import sys
from dataclasses import replace

import gsplat_stand_in
import pytest
import torch
from rendering_scenes import outlier_share, random_scene, relative_error, render_with_gradients

from cgc_ros.rendering import (
    BackendError,
    available_backends,
    blend_weights,
    choose_backend,
    gsplat_backend,
    label_image,
    mask_votes,
    rasterize,
    reference,
)

REASON = available_backends()["gsplat"]
needs_gsplat = pytest.mark.skipif(bool(REASON), reason=f"gsplat cannot run here: {REASON}")


@needs_gsplat
@pytest.mark.parametrize("hard", [False, True])
def test_render_and_gradients_equal_the_cpu_backend(hard):
    scene = random_scene(3000, seed=31, hard=hard)
    ours = render_with_gradients(scene, torch.float32, "cpu")
    gsplat = render_with_gradients(scene, torch.float32, "gsplat")
    for name in ("color", "features", "depth", "alpha"):
        # gsplat computes in float32 with fast exponentials: a few pixels flip at its thresholds.
        assert (gsplat.outputs[name] - ours.outputs[name]).abs().median() <= 1e-5, name
        assert outlier_share(gsplat.outputs[name], ours.outputs[name], 1e-2) <= 1e-3, name
    for name, gradient in ours.gradients.items():
        assert relative_error(gsplat.gradients[name], gradient) <= 2e-2, name
    assert relative_error(gsplat.outputs["contribution"], ours.outputs["contribution"]) <= 1e-2
    assert (gsplat.render.radii.cpu() != ours.render.radii).double().mean() <= 1e-2


@needs_gsplat
def test_queries_equal_the_cpu_backend():
    scene = random_scene(2000, seed=32, hard=False)
    on_gpu = tuple(t.cuda() for t in scene.gaussians)
    camera = scene.camera()
    scene.camera_from_world = scene.camera_from_world.cuda()
    gpu_camera = scene.camera()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, scene.width * scene.height, (300,), generator=generator)
    ours = blend_weights(*scene.gaussians, camera, pixels)
    theirs = blend_weights(*on_gpu, gpu_camera, pixels.cuda())
    difference = ours.to_sparse().to_dense() - theirs.to_sparse().to_dense().cpu()
    assert difference.abs().sum() <= 1e-3 * ours.values.sum()
    assert torch.allclose(theirs.blend(scene.features.cuda()).cpu(), ours.blend(scene.features), atol=1e-2)

    labels = torch.randint(-1, 40, (scene.height, scene.width), generator=generator, dtype=torch.int32)
    votes = mask_votes(*scene.gaussians, camera, labels, 40)
    assert relative_error(mask_votes(*on_gpu, gpu_camera, labels.cuda(), 40).cpu(), votes) <= 1e-2

    ids = torch.randint(-1, 50, (2000,), generator=generator, dtype=torch.int32)
    for mine, other in zip(
        label_image(*scene.gaussians, camera, ids), label_image(*on_gpu, gpu_camera, ids.cuda()), strict=True
    ):
        assert ((mine - other.cpu()).abs() > 1e-2).double().mean() <= 2e-3


@pytest.fixture
def stand_in(monkeypatch):
    """Our backend with gsplat's primitives replaced by plain PyTorch on the CPU."""
    monkeypatch.setitem(sys.modules, "gsplat", gsplat_stand_in)
    return gsplat_backend


@pytest.mark.parametrize(("hard", "eps2d"), [(False, 0.3), (True, 0.3), (False, 0.1)])
def test_the_backend_around_gsplat_renders_what_the_oracle_does(stand_in, hard, eps2d):
    settings = {
        "sh_degree": 2,
        "depth": True,
        "background": torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64),
        "contribution": True,
    }
    results = []
    for module in (reference, stand_in):
        scene = random_scene(120, width=36, height=20, num_features=30, seed=33, hard=hard).to(torch.float64)
        scene = replace(scene, eps2d=eps2d)
        probe = torch.zeros(120, 2, dtype=torch.float64, requires_grad=True)
        out = module.rasterize(
            *scene.gaussians,
            scene.camera(),
            colors=scene.harmonics,
            features=scene.features,
            means2d_grad=probe,
            **settings,
        )
        images = [out.color, out.features, out.depth, out.alpha]
        generator = torch.Generator().manual_seed(1)
        sum((image * torch.randn(image.shape, generator=generator)).sum() for image in images).backward()
        leaves = [scene.means, scene.quats, scene.scales, scene.opacities, scene.harmonics, scene.features]
        gradients = [leaf.grad for leaf in [*leaves, scene.camera_from_world, probe]]
        results.append([*images, out.contribution, out.radii.double(), *gradients])
    for truth, ours in zip(*results, strict=True):
        assert relative_error(ours.detach(), truth.detach()) < 1e-7


def test_the_queries_around_gsplat_answer_what_the_oracle_does(stand_in):
    scene = random_scene(250, width=40, height=22, seed=34).to(torch.float64)
    view = [t.detach() for t in scene.gaussians] + [scene.camera()]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 40 * 22, (60,), generator=generator)
    labels = torch.randint(-1, 40, (22, 40), generator=generator, dtype=torch.int32)
    ids = torch.randint(-1, 70, (250,), generator=generator, dtype=torch.int32)
    with torch.no_grad():
        ours, truth = (module.blend_weights(*view, pixels) for module in (stand_in, reference))
        assert torch.equal(ours.offsets, truth.offsets) and torch.equal(ours.gaussians, truth.gaussians)
        assert torch.allclose(ours.values, truth.values, atol=1e-12)
        assert torch.allclose(ours.blend(scene.features), truth.blend(scene.features), atol=1e-12)
        votes, true_votes = (module.mask_votes(*view, labels, 39).float() for module in (stand_in, reference))
        assert torch.allclose(votes, true_votes, atol=1e-5)
        for mine, other in zip(stand_in.label_image(*view, ids), reference.label_image(*view, ids), strict=True):
            assert torch.allclose(mine.float(), other.float(), atol=1e-5)


def test_an_empty_map_around_gsplat(stand_in):
    scene = random_scene(0, width=20, height=12)
    out = stand_in.rasterize(
        *scene.gaussians,
        scene.camera(),
        colors=scene.harmonics,
        sh_degree=0,
        features=scene.features,
        depth=True,
        background=scene.background,
        means2d_grad=None,
        contribution=True,
    )
    assert torch.equal(out.color, scene.background.expand(12, 20, 3)) and out.features.shape == (12, 20, 5)
    weights = stand_in.blend_weights(*scene.gaussians, scene.camera(), torch.arange(5))
    assert weights.offsets.tolist() == [0] * 6
    assert (stand_in.label_image(*scene.gaussians, scene.camera(), torch.zeros(0, dtype=torch.int32))[0] == -1).all()


@needs_gsplat
def test_an_empty_map_is_the_background():
    scene = random_scene(0, width=20, height=12)
    result = render_with_gradients(scene, torch.float32, "gsplat")
    assert torch.allclose(result.outputs["color"], scene.background.double().expand(12, 20, 3))


def test_auto_takes_gsplat_for_cuda_tensors_and_cpu_for_others():
    assert choose_backend("auto", "cpu") == "cpu"
    assert choose_backend() == ("cpu" if REASON else "gsplat")
    if not REASON:
        assert choose_backend("auto", "cuda") == "gsplat"


def test_every_backend_is_listed_with_what_it_lacks():
    backends = available_backends()
    assert set(backends) == {"gsplat", "cpu", "reference"}
    assert backends["cpu"] == "" and backends["reference"] == ""


@pytest.mark.skipif(not REASON, reason="gsplat works here: there is no absence to explain")
def test_the_absence_of_gsplat_is_explained():
    with pytest.raises(BackendError, match="gsplat.*cannot be used: .*(CUDA|pip install)"):
        choose_backend("gsplat")
    scene = random_scene(5)
    with pytest.raises(BackendError, match="gsplat"):
        rasterize(*scene.gaussians, scene.camera(), backend="gsplat")


def test_an_unknown_backend_is_named():
    with pytest.raises(BackendError, match="'vulkan'.*auto, gsplat, cpu, reference"):
        choose_backend("vulkan")
