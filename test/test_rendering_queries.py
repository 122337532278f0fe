"""Weights, votes and label images: against the oracle, and against each other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering_scenes import random_scene

from cgc_ros.rendering import blend_weights, label_image, mask_votes, rasterize


@pytest.fixture(scope="module")
def scene():
    return random_scene(1500, seed=21)


@pytest.fixture(scope="module")
def truth(scene):
    double = scene.to(torch.float64)
    return tuple(tensor.detach() for tensor in double.gaussians), double.camera()


def test_weights_at_pixels_match_the_oracle(scene, truth):
    gaussians, camera = truth
    pixels = torch.randint(0, scene.width * scene.height, (200,), generator=torch.Generator().manual_seed(0))
    pixels[7] = pixels[3]  # repeats are allowed
    ours = blend_weights(*scene.gaussians, scene.camera(), pixels)
    theirs = blend_weights(*gaussians, camera, pixels, backend="reference")
    assert torch.equal(ours.offsets, theirs.offsets) and torch.equal(ours.gaussians, theirs.gaussians)
    assert (ours.values.double() - theirs.values).abs().mean() <= 1e-6
    assert torch.equal(ours.to_sparse().to_dense()[7], ours.to_sparse().to_dense()[3])


def test_weights_of_a_view_blend_to_its_render_and_transpose_in_backward(scene):
    features = scene.features.clone().requires_grad_()
    weights = blend_weights(*scene.gaussians, scene.camera(), None)
    blended = weights.blend(features)
    out = rasterize(*scene.gaussians, scene.camera(), features=scene.features)
    assert torch.allclose(blended.view_as(out.features), out.features, atol=2e-6)
    assert torch.allclose(weights.alpha().view_as(out.alpha), out.alpha, atol=2e-6)
    probe = torch.randn(blended.shape, generator=torch.Generator().manual_seed(1))
    (blended * probe).sum().backward()
    expected = weights.to_sparse(torch.float64).T @ probe.double()
    assert torch.allclose(features.grad.double(), expected, atol=1e-4)


def test_votes_match_the_oracle_and_add_up_to_the_contribution(scene, truth):
    gaussians, camera = truth
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(-1, 7, (scene.height, scene.width), generator=generator, dtype=torch.int32)
    labels[:20] = 2
    ours = mask_votes(*scene.gaussians, scene.camera(), labels, 6)
    theirs = mask_votes(*gaussians, camera, labels, 6, backend="reference")
    assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    everything = mask_votes(*scene.gaussians, scene.camera(), torch.zeros_like(labels), 1)[:, 0]
    contribution = rasterize(*scene.gaussians, scene.camera(), contribution=True).contribution
    assert torch.allclose(everything, contribution, atol=1e-4, rtol=1e-5)


def test_a_label_in_every_pixel_of_a_tile(scene, truth):
    gaussians, camera = truth
    labels = torch.arange(scene.width * scene.height, dtype=torch.int32).view(scene.height, scene.width)
    count = labels.numel()
    ours = mask_votes(*scene.gaussians, scene.camera(), labels, count)
    assert torch.allclose(ours, mask_votes(*gaussians, camera, labels, count, backend="reference"), atol=1e-5)


def test_label_image_matches_the_oracle(scene, truth):
    gaussians, camera = truth
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(-1, 9, (len(scene.means),), generator=generator, dtype=torch.int32)
    labels, confidence, depth = label_image(*scene.gaussians, scene.camera(), ids)
    labels64, confidence64, depth64 = label_image(*gaussians, camera, ids, backend="reference")
    assert (labels != labels64).double().mean() <= 1e-3  # near ties
    assert (confidence - confidence64).abs().mean() <= 1e-6 and (depth - depth64).abs().mean() <= 1e-5
    out = rasterize(*scene.gaussians, scene.camera(), depth=True)
    assert torch.allclose(depth, out.depth, atol=1e-5) and (confidence <= out.alpha + 1e-5).all()


def test_as_many_objects_as_gaussians(scene, truth):
    gaussians, camera = truth
    ids = torch.arange(len(scene.means), dtype=torch.int32) * 7919  # many meet in one slot of the table
    labels, _, _ = label_image(*scene.gaussians, scene.camera(), ids)
    assert (labels != label_image(*gaussians, camera, ids, backend="reference")[0]).double().mean() <= 1e-3


def test_no_objects_is_unlabelled(scene):
    ids = torch.full((len(scene.means),), -1, dtype=torch.int32)
    labels, confidence, _ = label_image(*scene.gaussians, scene.camera(), ids)
    assert (labels == -1).all() and (confidence == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 300),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    hard=st.booleans(),
)
def test_weights_are_a_partition_of_what_is_seen(seed, count, width, height, hard):
    scene = random_scene(count, width=width, height=height, seed=seed, hard=hard)
    out = rasterize(*scene.gaussians, scene.camera(), features=torch.ones(count, 1), contribution=True, depth=True)
    weights = blend_weights(*scene.gaussians, scene.camera(), None)
    assert ((out.alpha >= 0) & (out.alpha <= 1)).all()
    assert torch.allclose(out.features[..., 0], out.alpha, atol=1e-5)  # weights add up to alpha
    assert torch.allclose(weights.alpha().view_as(out.alpha), out.alpha, atol=1e-5)
    assert out.contribution.sum().item() == pytest.approx(out.alpha.sum().item(), rel=1e-4, abs=1e-4)
    assert (out.contribution[~out.visible] == 0).all()
    if count:
        seen = out.depth[out.alpha > 0]
        depths = scene.means[:, 2] + scene.camera_from_world[2, 3]
        if hard and len(seen):
            assert seen.min() >= depths[out.visible].min() - 1e-3 and seen.max() <= depths[out.visible].max() + 1e-3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 200))
def test_the_order_of_gaussians_does_not_matter(seed, count):
    scene = random_scene(count, width=30, height=20, seed=seed, hard=False)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    out = rasterize(*scene.gaussians, scene.camera(), features=scene.features)
    shuffled = rasterize(*(t[order] for t in scene.gaussians), scene.camera(), features=scene.features[order])
    assert torch.equal(out.features, shuffled.features) and torch.equal(out.radii[order], shuffled.radii)
