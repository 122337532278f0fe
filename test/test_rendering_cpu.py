"""The C++ backend against the float64 oracle, on every instruction set this machine can run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rendering_scenes import outlier_share, random_scene, relative_error, render_with_gradients

from cgc_ros.rendering import rasterize
from cgc_ros.rendering.kernels import kernels

INSTRUCTION_SETS = kernels.instruction_sets()


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    before = kernels.instruction_set()
    kernels.use_instruction_set(request.param)
    yield request.param
    kernels.use_instruction_set(before)


def assert_parity(scene, sh_degree=3, truth=None):
    truth = truth or render_with_gradients(scene, torch.float64, "reference", sh_degree)
    ours = render_with_gradients(scene, torch.float32, "cpu", sh_degree)
    for name in ("color", "features", "depth", "alpha"):
        assert (ours.outputs[name] - truth.outputs[name]).abs().mean() <= 1e-6, name
        assert outlier_share(ours.outputs[name], truth.outputs[name]) <= 1e-4, name
    for name, gradient in truth.gradients.items():
        assert relative_error(ours.gradients[name], gradient) <= 1e-5, name
    assert relative_error(ours.outputs["contribution"], truth.outputs["contribution"]) <= 1e-5
    assert torch.equal(ours.render.radii, truth.render.radii)
    return truth, ours


@pytest.fixture(scope="module", params=[(1000, 1), (5000, 2)], ids=lambda p: f"{p[0]} Gaussians")
def hard_scene(request):
    count, seed = request.param
    scene = random_scene(count, width=44, height=36, seed=seed)
    return scene, render_with_gradients(scene, torch.float64, "reference")


def test_outputs_and_gradients_match_the_oracle_on_hard_scenes(instruction_set, hard_scene):
    scene, truth = hard_scene
    assert_parity(scene, truth=truth)


@pytest.mark.parametrize("sh_degree", [0, 1, 2])
def test_every_degree_of_spherical_harmonics(sh_degree):
    truth, ours = assert_parity(random_scene(300, width=33, height=17, seed=4), sh_degree)
    used = (sh_degree + 1) ** 2
    assert truth.gradients["harmonics"][:, :used].abs().max() > 0
    assert ours.gradients["harmonics"][:, used:].abs().max() == 0


@pytest.mark.parametrize("width, height", [(1, 1), (1, 40), (37, 1), (17, 15), (16, 16), (31, 33)])
def test_image_sizes_that_are_no_multiple_of_a_tile(instruction_set, width, height):
    assert_parity(random_scene(400, width=width, height=height, seed=5))


@pytest.mark.parametrize("num_features", [1, 3, 8, 16, 29, 70])
def test_any_number_of_features(num_features):
    assert_parity(random_scene(250, width=24, height=18, num_features=num_features, seed=6))


def test_a_tilted_camera_gets_its_gradient():
    truth, _ = assert_parity(random_scene(2000, seed=7, hard=False))
    assert truth.gradients["camera_from_world"][:3].abs().min() > 0


def test_nothing_visible_is_a_transparent_image_and_zero_gradients():
    scene = random_scene(50, width=20, height=20)
    scene.means[:, 2] = -1.0
    _, ours = assert_parity(scene)
    assert ours.outputs["alpha"].abs().max() == 0 and ours.outputs["depth"].abs().max() == 0
    assert torch.allclose(ours.outputs["color"], scene.background.double().expand(20, 20, 3))
    assert not ours.render.visible.any()


def test_no_gaussians_at_all():
    assert_parity(random_scene(0, width=20, height=12))


def test_thousands_of_gaussians_in_one_tile():
    """Lists longer than a segment, pixels that end within one, and those that never end."""
    scene = random_scene(3000, width=16, height=16, seed=8, hard=False)
    scene.opacities[:] = torch.where(torch.arange(3000) % 2 == 0, 0.02, 0.08)
    assert_parity(scene)


def test_broken_gaussians_are_left_out_and_harm_no_other():
    scene = random_scene(200, seed=9, hard=False)
    clean = rasterize(*scene.gaussians, scene.camera(), features=scene.features, depth=True)
    broken = random_scene(200, seed=9, hard=False)
    nan, inf = float("nan"), float("inf")
    extra = torch.tensor([[0.0, 0.0, 3.0]]).repeat(8, 1)
    extra[0, 0], extra[1, 2], extra[2, 1] = nan, inf, -inf
    quats, scales, opacities = torch.ones(8, 4), torch.full((8, 3), 0.1), torch.full((8,), 0.5)
    quats[3] = 0.0
    scales[4, 1], scales[5, 0] = nan, inf
    opacities[6], opacities[7] = nan, 0.0
    out = rasterize(
        torch.cat([broken.means, extra]),
        torch.cat([broken.quats, quats]),
        torch.cat([broken.scales, scales]),
        torch.cat([broken.opacities, opacities]),
        broken.camera(),
        depth=True,
        features=torch.cat([broken.features, torch.ones(8, 5)]),
    )
    assert not out.visible[200:].any()
    assert torch.equal(out.features, clean.features) and torch.equal(out.depth, clean.depth)


def test_results_do_not_depend_on_the_number_of_threads():
    scene = random_scene(20_000, seed=10, hard=False)  # enough for sorting to be shared out, too
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(render_with_gradients(scene, torch.float32, "cpu"))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for name, value in results[0].outputs.items():
            assert torch.equal(value, other.outputs[name]), name
        for name, value in results[0].gradients.items():
            assert torch.equal(value, other.gradients[name]), name


def test_channels_do_not_change_each_other():
    scene = random_scene(500, seed=11)
    plain = scene.harmonics[:, 0]
    together = rasterize(*scene.gaussians, scene.camera(), colors=plain, features=scene.features, depth=True)
    alone = rasterize(*scene.gaussians, scene.camera(), colors=plain)
    assert torch.allclose(together.color, alone.color, atol=1e-6) and torch.equal(together.alpha, alone.alpha)
    assert alone.features is None and alone.depth is None and alone.contribution is None


def test_memory_of_a_render_grows_with_tile_pairs_not_with_pixels_times_gaussians():
    def state_bytes(count, width, height):
        scene = random_scene(count, width=width, height=height, hard=False).to(torch.float32)
        out = rasterize(*scene.gaussians, scene.camera(), features=scene.features)
        state = out.alpha.grad_fn.state
        return state.bytes, state.num_pairs

    for count, width, height in [(1000, 64, 48), (4000, 256, 192)]:
        size, pairs = state_bytes(count, width, height)
        pixels = -(-width // 16) * -(-height // 16) * 256
        assert size <= 72 * count + 12 * pairs + 8 * pixels + pixels // 64 + 16


def test_autograd_notices_inputs_changed_in_place():
    scene = random_scene(20, hard=False).to(torch.float32)
    out = rasterize(*scene.gaussians, scene.camera(), features=scene.features)
    with torch.no_grad():
        scene.scales.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.features.sum().backward()


def test_float64_is_refused_with_the_remedy():
    scene = random_scene(5).to(torch.float64)
    with pytest.raises(ValueError, match="float32.*reference"):
        rasterize(*scene.gaussians, scene.camera(), backend="cpu")


def test_concurrent_renders_from_threads_agree():
    from concurrent.futures import ThreadPoolExecutor

    scene = random_scene(1500, seed=12)
    expected = rasterize(*scene.gaussians, scene.camera(), features=scene.features).features
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(lambda: rasterize(*scene.gaussians, scene.camera(), features=scene.features).features)
            for _ in range(12)
        ]
    assert all(np.array_equal(job.result().numpy(), expected.numpy()) for job in jobs)


def test_a_smaller_view_shows_the_larger_one_averaged_over_areas():
    scene = random_scene(400, width=96, height=64, seed=11, hard=False)
    large = scene.camera()

    def render(camera):
        return rasterize(*scene.gaussians, camera, colors=scene.harmonics, sh_degree=1, backend="cpu").color

    averaged = torch.nn.functional.avg_pool2d(render(large).permute(2, 0, 1), 2).permute(1, 2, 0)
    small = large.scaled_to(48, 32)
    off = (render(small) - averaged).abs().mean()
    off_with_the_large_views_eps2d = (render(replace(small, eps2d=large.eps2d)) - averaged).abs().mean()
    assert off < 0.5 * off_with_the_large_views_eps2d


@pytest.mark.parametrize("eps2d", [0.05, 1.0])
def test_any_eps2d_matches_the_oracle(eps2d):
    assert_parity(replace(random_scene(200, width=40, height=24, seed=12), eps2d=eps2d))


@pytest.mark.parametrize("eps2d", [0.0, -0.3, float("nan")])
def test_an_eps2d_that_is_not_positive_is_refused(eps2d):
    scene = random_scene(5)
    with pytest.raises(ValueError, match="must be positive"):
        rasterize(*scene.gaussians, replace(scene.camera(), eps2d=eps2d), features=scene.features, backend="cpu")
