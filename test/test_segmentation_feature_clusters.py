"""Objects from features: groups on the sphere become clusters, whatever the features' lengths, and label views."""

import numpy as np
import torch
import torch.nn.functional as F

from cgc_ros.segmentation.feature_clusters import cluster_features, label_features, nearest_centroid

AXES = torch.eye(16)[[0, 3, 7]]


def grouped(counts, spread=0.03, noise=0):
    """Features around three axes, of lengths 0.1 to 10, then `noise` in random directions; and their groups."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    features = AXES[groups] + spread * torch.randn(len(groups), 16, generator=generator)
    features = torch.cat([features, torch.randn(noise, 16, generator=generator)])
    return features * 10 ** (2 * torch.rand(len(features), 1, generator=generator) - 1), groups


def test_three_directions_are_three_clusters_and_noise_is_none():
    features, groups = grouped([300, 200, 60], noise=100)
    clusters = cluster_features(features, 10_000, 0.03, np.random.default_rng(0))
    assert len(clusters.centroids) == 3
    assert ((AXES @ clusters.centroids.T).amax(dim=1) > 0.98).all()
    assert ((clusters.confidence > 0) & (clusters.confidence <= 1)).all()
    rows = nearest_centroid(features[: len(groups)], clusters.centroids)
    order = (AXES @ clusters.centroids.T).argmax(dim=1)
    assert (rows == order[groups]).all()


def test_a_sample_finds_what_all_would():
    features, _ = grouped([3000, 3000, 3000])
    assert len(cluster_features(features, 400, 0.05, np.random.default_rng(0)).centroids) == 3


def test_features_without_structure_and_too_few_of_them_are_no_objects():
    noise = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    assert len(cluster_features(noise, 1000, 0.1, np.random.default_rng(0)).centroids) == 0
    assert len(cluster_features(noise[:6], 1000, 0.1, np.random.default_rng(0)).centroids) == 0
    assert len(cluster_features(noise[:0], 1000, 0.1, np.random.default_rng(0)).centroids) == 0


def test_a_pixel_has_the_id_of_the_nearest_centroid_where_the_map_is_opaque():
    image = torch.stack([5 * AXES[0], 0.01 * AXES[2] + 0.004 * AXES[1], AXES[1]]).reshape(1, 3, 16)
    alpha = torch.tensor([[1.0, 0.9, 0.2]])
    ids = torch.tensor([11, 22, 33], dtype=torch.int32)
    assert label_features(image, alpha, F.normalize(AXES, dim=1), ids, 0.5).tolist() == [[11, 33, -1]]
    assert label_features(image, alpha, AXES[:0], ids[:0], 0.5).tolist() == [[-1, -1, -1]]
