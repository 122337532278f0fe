"""The paper's losses against their formulas written as plain loops."""

import math

import pytest
import torch

from cgc_ros.segmentation.losses import contrastive_clustering_loss, mask_temperatures, spatial_similarity_loss


def contrastive_by_loops(features: torch.Tensor, masks: torch.Tensor) -> float:
    """Equations 4 and 5 of arXiv 2404.12784, term by term, with means over pixels within a mask."""
    features = [row / row.norm() for row in features]
    members = {int(m): [features[q] for q in range(len(features)) if masks[q] == m] for m in masks.unique()}
    centroids = {m: sum(rows) / len(rows) for m, rows in members.items()}
    phi = {}
    for m, rows in members.items():
        spread = sum(float((row - centroids[m]).norm()) for row in rows)
        phi[m] = min(max(10 * spread / (len(rows) * math.log(len(rows) + 100)), 0.1), 1.0)
    total = 0.0
    for m, rows in members.items():
        loss = 0.0
        for row in rows:
            denominator = sum(math.exp(float(row @ centroids[s]) / phi[s]) for s in members)
            loss -= math.log(math.exp(float(row @ centroids[m]) / phi[m]) / denominator)
        total += loss / len(rows)
    return total / len(members)


@pytest.mark.parametrize("seed", range(4))
def test_contrastive_loss_equals_its_formula(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(60, 16, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, 5, (60,), generator=generator) * 3  # ids with gaps
    assert contrastive_clustering_loss(features, masks).item() == pytest.approx(
        contrastive_by_loops(features, masks), rel=1e-5
    )


def test_contrastive_gradient_matches_finite_differences_with_temperatures_held():
    generator = torch.Generator().manual_seed(0)
    masks = torch.tensor([0, 0, 0, 1, 1, 1])
    # Spread features saturate the temperature at 1, which then is constant as the loss assumes.
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: contrastive_clustering_loss(f, masks), (features,), eps=1e-6, atol=1e-5)


def test_temperature_is_clipped_to_the_papers_range():
    tight = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    wide = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    for features, expected in ((tight, 0.1), (wide, 1.0)):
        centroid = features.mean(dim=0, keepdim=True)
        masks = torch.zeros(2, dtype=torch.int64)
        assert mask_temperatures(features, masks, centroid, torch.tensor([2.0])).item() == pytest.approx(expected)


def test_prototypes_of_objects_that_are_not_in_view_only_push():
    prototypes = torch.eye(3, 16)
    features = prototypes[torch.tensor([0, 0, 1, 1])].clone().requires_grad_(True)
    near = contrastive_clustering_loss(features, torch.tensor([0, 0, 1, 1]), prototypes)
    far = contrastive_clustering_loss(features, torch.tensor([2, 2, 1, 1]), prototypes)
    assert torch.isfinite(near) and near < far


def test_training_on_masks_that_disagree_separates_two_objects():
    """Views cut one object at random; pixels of one object still end up alike and those of two apart."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.arange(40) // 20
    features = (torch.randn(40, 16, generator=generator) * 0.1).requires_grad_(True)
    optimizer = torch.optim.Adam([features], lr=0.02)
    for _step in range(200):
        cut = (
            truth * 2
            + (torch.rand(1, generator=generator) < 0.3).long() * (torch.randn(40, generator=generator) > 0).long()
        )
        loss = contrastive_clustering_loss(features, cut)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(features.detach(), dim=1)
    similarity = unit @ unit.T
    same = truth[:, None] == truth[None]
    assert similarity[same].min() > similarity[~same].max()


def test_spatial_loss_equals_its_formula():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(12, 16, generator=generator, dtype=torch.float64)
    means = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    unit = features / features.norm(dim=1, keepdim=True)
    pull, push = [], []
    for i in range(12):
        order = sorted(range(12), key=lambda j: float((means[i] - means[j]).norm()))
        pull += [1 / (1 + math.exp(-(1 - float(unit[i] @ unit[j])))) for j in order[:2]]  # the nearest is i itself
        push += [1 / (1 + math.exp(-float(unit[i] @ unit[j]))) for j in order[-5:]]
    expected = 0.05 * sum(pull) / len(pull) + 0.15 * sum(push) / len(push)
    assert spatial_similarity_loss(features, means).item() == pytest.approx(expected, rel=1e-9)


def test_spatial_loss_of_a_single_gaussian_is_zero():
    assert spatial_similarity_loss(torch.ones(1, 16), torch.zeros(1, 3)).item() == 0.0
