"""Objects from features alone, as the paper has them: Gaussians clustered by feature, views labelled by centroid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 200_000  # rows compared with the centroids at once


@dataclass(frozen=True)
class FeatureClusters:
    """Clusters of unit features."""

    centroids: Tensor  # [C, F] unit
    confidence: np.ndarray  # [C] 0..1, mean strength of membership of a cluster's own samples


def cluster_features(
    features: Tensor,  # [N, F] of Gaussians, any length but zero
    sample_size: int,
    min_share: float,  # of the sample: a cluster's least size
    rng: np.random.Generator,
) -> FeatureClusters:
    """Clusters found by HDBSCAN (Campello, Moulavi, Sander 2013) in a random sample of Gaussians.

    Distances between unit vectors grow with their angle. What HDBSCAN takes for noise belongs to no cluster here;
    `nearest_centroid` gives it one. No clusters where the features have no structure.
    """
    from sklearn.cluster import HDBSCAN

    size = min(sample_size, len(features))
    min_size = max(5, round(min_share * size))
    none = FeatureClusters(features.new_zeros(0, features.shape[1]), np.zeros(0, np.float32))
    if size < 2 * min_size:
        return none
    rows = torch.from_numpy(np.sort(rng.choice(len(features), size, replace=False))).to(features.device)
    sample = F.normalize(features[rows].detach(), dim=1)
    found = HDBSCAN(min_cluster_size=min_size, copy=True).fit(sample.cpu().double().numpy())
    count = int(found.labels_.max()) + 1
    if count == 0:
        return none
    members = found.labels_ >= 0
    labels = found.labels_[members]
    sums = features.new_zeros(count, features.shape[1])
    sums.index_add_(0, torch.from_numpy(labels).to(sums.device), sample[torch.from_numpy(members).to(sums.device)])
    confidence = np.bincount(labels, found.probabilities_[members]) / np.bincount(labels)
    return FeatureClusters(F.normalize(sums, dim=1), confidence.astype(np.float32))


def nearest_centroid(features: Tensor, centroids: Tensor) -> Tensor:
    """Row of the centroid [C, F] (unit) of least angle to each feature [M, F], [M] int64."""
    return torch.cat([(part @ centroids.T).argmax(dim=1) for part in features.split(CHUNK)])


def label_features(image: Tensor, alpha: Tensor, centroids: Tensor, ids: Tensor, min_alpha: float) -> Tensor:
    """Label image [H, W] int32 of a rendered feature map [H, W, F]: the id ([C] int32) of the nearest centroid.

    -1 where the opacity `alpha` [H, W] is less than `min_alpha`, and where there are no centroids.
    """
    unknown = torch.full(alpha.shape, -1, dtype=torch.int32, device=alpha.device)
    if len(centroids) == 0:
        return unknown
    rows = nearest_centroid(image.reshape(-1, image.shape[-1]), centroids)
    return torch.where(alpha >= min_alpha, ids[rows].reshape(alpha.shape), unknown)
