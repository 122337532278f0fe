"""The paper's two losses on segmentation features, vectorised over masks and Gaussians."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 1.0


def contrastive_clustering_loss(
    features: Tensor,  # [P, F] rendered at P pixels, any length
    masks: Tensor,  # [P] int64, index of each pixel's mask, 0..M-1
    prototypes: Tensor | None = None,  # [M, F] unit vectors; None: the masks' own centroids in this view
    pixel_sums: bool = False,
) -> Tensor:
    """Contrastive clustering loss of one view, mean over pixels within a mask, then over masks.

    Contrastive Gaussian Clustering (arXiv 2404.12784), equations 4 and 5: every pixel's unit feature is pulled to its
    mask's centroid and pushed from the other masks', with a temperature per mask that falls as the mask gets compact.
    Sums over pixels are means here, so that the weight of a mask does not depend on its size; `pixel_sums` keeps the
    paper's sums, which its weight of 1e-6 is meant for.
    """
    features = F.normalize(features, dim=1)
    if prototypes is None:
        _, masks, counts = torch.unique(masks, return_inverse=True, return_counts=True)
    else:
        counts = torch.bincount(masks, minlength=len(prototypes))
    present = counts > 0
    counts = counts.to(features.dtype).clamp_min(1)
    sums = torch.zeros((len(counts), features.shape[1]), dtype=features.dtype, device=features.device)
    centroids = sums.index_add(0, masks, features) / counts[:, None]
    temperatures = mask_temperatures(features.detach(), masks, centroids.detach(), counts)
    temperatures = torch.where(present, temperatures, temperatures[present].mean())  # of prototypes not in this view
    logits = features @ (centroids if prototypes is None else prototypes).T / temperatures
    losses = F.cross_entropy(logits, masks, reduction="none")
    per_mask = torch.zeros_like(counts).index_add(0, masks, losses)
    return (per_mask if pixel_sums else per_mask / counts)[present].mean()


def mask_temperatures(features: Tensor, masks: Tensor, centroids: Tensor, counts: Tensor) -> Tensor:
    """phi_p = clip(10 sum_q |F_q - c_p| / (n_p log(n_p + 100)), 0.1, 1), [M]; the paper's equation 5."""
    distances = (features - centroids[masks]).norm(dim=1)
    sums = torch.zeros_like(counts).index_add(0, masks, distances)
    return (10.0 * sums / (counts * torch.log(counts + 100.0))).clamp(MIN_TEMPERATURE, MAX_TEMPERATURE)


def spatial_similarity_loss(
    features: Tensor,  # [S, F] of a random sample of Gaussians
    means: Tensor,  # [S, 3] metres
    pull_neighbours: int = 2,
    push_neighbours: int = 5,
    pull_weight: float = 0.05,
    push_weight: float = 0.15,
) -> Tensor:
    """Spatial-similarity regulariser: near Gaussians alike, far ones unlike; the paper's equation 6.

    As in the reference, the `pull_neighbours` nearest include the Gaussian itself.
    """
    count = len(means)
    if count < 2:
        return features.sum() * 0.0
    unit = F.normalize(features, dim=1)
    distances = torch.cdist(means.detach(), means.detach())
    similarity = unit @ unit.T
    near = distances.topk(min(pull_neighbours, count), largest=False).indices
    far = distances.topk(min(push_neighbours, count), largest=True).indices
    pull = torch.sigmoid(1.0 - similarity.gather(1, near)).mean()
    push = torch.sigmoid(similarity.gather(1, far)).mean()
    return pull_weight * pull + push_weight * push
