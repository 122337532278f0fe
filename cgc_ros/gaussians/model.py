"""The map's parameters: one row per Gaussian, and the only ways to add and remove rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from cgc_ros.rendering.spherical_harmonics import SH_C0

#: Length of every Gaussian's segmentation feature (Contrastive Gaussian Clustering, section 3).
FEATURE_DIM = 16


@dataclass
class GaussianSeeds:
    """Gaussians in natural units, before they join a map."""

    means: Tensor  # [M, 3] map frame, metres
    quats: Tensor  # [M, 4] w x y z
    scales: Tensor  # [M, 3] standard deviations, metres
    opacities: Tensor  # [M] 0..1
    colors: Tensor  # [M, 3] 0..1

    def __len__(self) -> int:
        return self.means.shape[0]

    def select(self, index: Tensor) -> GaussianSeeds:
        return GaussianSeeds(*(getattr(self, field.name)[index] for field in fields(self)))


class GaussianModel:
    """N anisotropic Gaussians with colour (spherical harmonics) and a segmentation feature each.

    `parameters` holds the raw leaf tensors that are trained (log scales, logit opacities, ...); the properties give
    them in natural units. `uids` names every Gaussian for life. Rows are only appended, with growing uids, or removed
    in place, so `uids` stays sorted and what was measured on an older map is found again by `rows_of`.

    `moments` are the optimiser's running means, one pair per parameter, kept here because they must follow every
    change of rows.
    """

    def __init__(self, sh_degree: int = 0, device: str | torch.device = "cpu"):
        if not 0 <= sh_degree <= 3:
            raise ValueError(f"sh_degree must be 0..3, got {sh_degree}")
        self.sh_degree = sh_degree
        self.device = torch.device(device)
        self.parameters = {
            name: torch.zeros((0, *shape), device=self.device) for name, shape in self.row_shapes().items()
        }
        self.moments = {
            name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in self.parameters.items()
        }
        self.uids = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.born_step = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.background = torch.zeros(3, device=self.device)  # colour 0..1, seen where the Gaussians are transparent
        self.importance = torch.zeros(0, device=self.device)  # pixels: running blending weight in the views that see it
        self.next_uid = 0

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of one row of every trained parameter."""
        return {
            "means": (3,),
            "quats": (4,),
            "log_scales": (3,),
            "logit_opacities": (),
            "sh": ((self.sh_degree + 1) ** 2, 3),
            "features": (FEATURE_DIM,),
        }

    def __len__(self) -> int:
        return self.uids.shape[0]

    @property
    def means(self) -> Tensor:  # [N, 3] map frame, metres
        return self.parameters["means"]

    @property
    def quats(self) -> Tensor:  # [N, 4] w x y z, any length
        return self.parameters["quats"]

    @property
    def scales(self) -> Tensor:  # [N, 3] metres
        return self.parameters["log_scales"].exp()

    @property
    def sizes(self) -> Tensor:  # [N] metres, geometric mean of the two longer axes: thickness left out
        return self.parameters["log_scales"].sort(dim=1).values[:, 1:].mean(dim=1).exp()

    @property
    def opacities(self) -> Tensor:  # [N] 0..1
        return torch.sigmoid(self.parameters["logit_opacities"])

    @property
    def sh(self) -> Tensor:  # [N, (sh_degree + 1)^2, 3]
        return self.parameters["sh"]

    @property
    def features(self) -> Tensor:  # [N, 16]
        return self.parameters["features"]

    def append(self, seeds: GaussianSeeds, step: int, generator: torch.Generator | None = None) -> None:
        """Add `seeds` as new rows; their features start as small random vectors drawn from `generator` (CPU)."""
        count = len(seeds)
        sh = torch.zeros((count, (self.sh_degree + 1) ** 2, 3), device=self.device)
        sh[:, 0] = (seeds.colors.to(self.device) - 0.5) / SH_C0
        rows = {
            "means": seeds.means,
            "quats": seeds.quats,
            "log_scales": seeds.scales.clamp_min(1e-9).log(),
            "logit_opacities": torch.logit(seeds.opacities, eps=1e-4),
            "sh": sh,
            "features": torch.randn((count, FEATURE_DIM), generator=generator) * 0.1,
        }
        rows = {name: value.to(self.device, torch.float32) for name, value in rows.items()}
        self.parameters = {name: torch.cat([value.detach(), rows[name]]) for name, value in self.parameters.items()}
        self.moments = {
            name: tuple(torch.cat([moment, torch.zeros_like(rows[name])]) for moment in pair)
            for name, pair in self.moments.items()
        }
        uids = torch.arange(self.next_uid, self.next_uid + count, device=self.device)
        self.uids = torch.cat([self.uids, uids])
        self.born_step = torch.cat([self.born_step, torch.full((count,), step, dtype=torch.int64, device=self.device)])
        self.importance = torch.cat([self.importance, torch.zeros(count, device=self.device)])
        self.next_uid += count

    def keep(self, mask: Tensor) -> None:
        """Remove every row where `mask` ([N] bool) is False."""
        self.map_rows(lambda value: value.detach()[mask])

    def map_rows(self, select: Callable[[Tensor], Tensor]) -> None:
        """Apply a row selection (order kept) to everything that is stored per Gaussian."""
        self.parameters = {name: select(value) for name, value in self.parameters.items()}
        self.moments = {name: (select(first), select(second)) for name, (first, second) in self.moments.items()}
        self.uids = select(self.uids)
        self.born_step = select(self.born_step)
        self.importance = select(self.importance)

    def rows_of(self, uids: Tensor) -> Tensor:
        """Rows of Gaussians by uid, [M] int64; -1 for those that are gone."""
        if len(self) == 0:
            return torch.full_like(uids, -1)
        rows = torch.searchsorted(self.uids, uids).clamp_max(len(self) - 1)
        return torch.where(self.uids[rows] == uids, rows, torch.full_like(rows, -1))

    def to(self, device: torch.device) -> None:
        """Move everything to another device."""
        self.device = device
        self.background = self.background.to(device)
        self.map_rows(lambda value: value.detach().to(device))

    def frozen(self) -> GaussianModel:
        """A copy that shares nothing with this map and is never trained (for snapshots)."""
        copy = GaussianModel(self.sh_degree, self.device)
        copy.parameters = {name: value.detach().clone() for name, value in self.parameters.items()}
        copy.moments = {}
        copy.uids, copy.born_step, copy.importance = self.uids.clone(), self.born_step.clone(), self.importance.clone()
        copy.next_uid = self.next_uid
        copy.background = self.background.clone()
        return copy
