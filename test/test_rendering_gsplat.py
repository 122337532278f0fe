"""gsplat on CUDA against the CPU kernels on larger scenes, where there is a GPU; how it is found, and its absence."""

import importlib.machinery
import inspect
import sys
import types
from operator import attrgetter

import pytest
import torch
from gsplat_operators import gsplat_on_cpu  # noqa: F401
from rendering_scenes import outlier_share, random_scene, relative_error, render_with_gradients

from cgc_ros.rendering import (
    BackendError,
    available_backends,
    backends,
    blend_weights,
    choose_backend,
    device_of,
    gsplat_build,
    gsplat_library,
    label_image,
    mask_votes,
    rasterize,
)

REASON = available_backends()["gsplat"]
needs_gsplat = pytest.mark.skipif(bool(REASON), reason=f"gsplat cannot run here: {REASON}")


@needs_gsplat
@pytest.mark.parametrize("hard", [False, True])
def test_render_and_gradients_equal_the_cpu_backend(hard):
    scene = random_scene(3000, seed=31, hard=hard)
    ours = render_with_gradients(scene, torch.float32, "cpu")
    gsplat = render_with_gradients(scene, torch.float32, "gsplat", device="cuda")
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


def test_auto_takes_gsplat_for_cuda_tensors_and_cpu_for_others():
    assert choose_backend("auto", "cpu") == "cpu"
    assert choose_backend() == ("cpu" if REASON else "gsplat")
    if not REASON:
        assert choose_backend("auto", "cuda") == "gsplat"


def test_every_backend_is_listed_with_what_it_lacks():
    listed = available_backends()
    assert set(listed) == {"gsplat", "cpu", "reference"}
    assert listed["cpu"] == "" and listed["reference"] == ""


def test_every_backend_says_where_its_map_is():
    assert [device_of(name).type for name in ("gsplat", "cpu", "reference")] == ["cuda", "cpu", "cpu"]


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


@pytest.fixture
def with_gpu(monkeypatch):
    """A machine with a GPU and gsplat's Python, and nothing found out about them yet."""
    pytest.importorskip("gsplat", reason="requirements/gpu.txt is not installed")
    monkeypatch.setattr(gsplat_library, "has_gpu", lambda: True)
    backends.why_unavailable.cache_clear()
    yield monkeypatch
    backends.why_unavailable.cache_clear()


def test_gsplat_that_is_not_compiled_is_not_compiled_on_the_way(with_gpu, capfd):
    with_gpu.setattr(gsplat_library, "compiled_spec", lambda: None)
    assert "python -m cgc_ros.rendering.gsplat_build" in available_backends()["gsplat"]
    assert "gsplat.cuda._backend" not in sys.modules  # whose import would compile
    assert choose_backend() == "cpu"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("error", [ImportError("undefined symbol"), OSError("read-only"), RuntimeError("no ninja")])
def test_operators_that_cannot_be_loaded_leave_auto_to_the_cpu(with_gpu, error):
    class Loader:
        create_module = staticmethod(lambda spec: None)

        @staticmethod
        def exec_module(module):
            raise error

    spec = importlib.machinery.ModuleSpec(gsplat_library.COMPILED, Loader())
    with_gpu.setattr(gsplat_library, "compiled_spec", lambda: spec)
    assert choose_backend() == "cpu"
    assert str(error) in available_backends()["gsplat"] and gsplat_library.BUILD in available_backends()["gsplat"]


def test_gsplat_is_accepted_for_what_it_offers_whatever_its_number(gsplat_on_cpu, monkeypatch):  # noqa: F811
    import gsplat

    monkeypatch.setattr(gsplat, "__version__", "1.6.0")
    backends.why_unavailable.cache_clear()
    assert available_backends()["gsplat"] == ""
    monkeypatch.delattr(gsplat, "rasterize_to_indices_in_range")
    monkeypatch.setattr(gsplat, "isect_tiles", lambda means2d, radii: None)
    backends.why_unavailable.cache_clear()
    reason = available_backends()["gsplat"]
    assert "lacks isect_tiles(depths, tile_height, tile_size, tile_width), rasterize_to_indices_in_range" in reason


def test_harmonics_by_the_directions_that_gsplat_finds_itself(gsplat_on_cpu, monkeypatch):  # noqa: F811
    import gsplat

    of_directions = gsplat.spherical_harmonics

    def of_poses(degrees_to_use, means, viewmats, coeffs, masks=None):
        """gsplat 1.6's signature: [N, 3], [C, 4, 4], [N, K, 3], [C, N] -> [C, N, 3]."""
        position = torch.linalg.inv(viewmats[0])[:3, 3]
        return of_directions(degrees_to_use, means - position, coeffs, masks[0])[None]

    scene = random_scene(50, 30, 20, seed=38)
    view = {"colors": scene.harmonics, "sh_degree": 3, "backend": "gsplat"}
    before = rasterize(*scene.gaussians, scene.camera(), **view).color
    monkeypatch.setattr(gsplat, "spherical_harmonics", of_poses)
    assert torch.equal(rasterize(*scene.gaussians, scene.camera(), **view).color, before)


def test_what_is_called_of_gsplat_is_what_it_must_offer():
    """`NEEDED` names parameters that the installed version has, so that it cannot go stale unseen."""
    gsplat = pytest.importorskip("gsplat", reason="requirements/gpu.txt is not installed")
    assert gsplat_library.lacking_in(gsplat) == ""
    assert all(inspect.isfunction(attrgetter(name)(gsplat)) for name in gsplat_library.NEEDED)
    assert gsplat_library.lacking_in(types.ModuleType("gsplat")) == ", ".join(gsplat_library.NEEDED)


def test_a_build_without_the_toolkit_says_what_is_missing(monkeypatch, tmp_path, capsys):
    pytest.importorskip("gsplat", reason="requirements/gpu.txt is not installed")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["gsplat_build"])
    assert gsplat_build.main() == 1
    captured = capsys.readouterr()
    assert captured.out == "" and f"{tmp_path}/bin/nvcc does not exist: install the CUDA toolkit" in captured.err


@pytest.mark.parametrize("front", ["link", "script"])
def test_the_toolkit_is_found_behind_what_stands_for_nvcc_on_the_path(monkeypatch, tmp_path, front):
    nvcc = tmp_path / "cuda-13.0" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f"#!/bin/sh\necho '#$ _SPACE_= \n#$ _HERE_={nvcc.parent}' >&2\n")
    nvcc.chmod(0o755)
    links = tmp_path / "bin"
    links.mkdir()
    if front == "link":
        (links / "nvcc").symlink_to(nvcc)
    else:
        (links / "nvcc").write_text(f'#!/bin/sh\nexec {nvcc} "$@"\n')
        (links / "nvcc").chmod(0o755)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(links))
    assert gsplat_build.cuda_home() == tmp_path / "cuda-13.0"
