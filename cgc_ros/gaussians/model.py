"""The map's parameters: one row per Gaussian, and the only ways to add and remove rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.storage import MapFileError, SavedState
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
        """Those at `index`: rows, or a mask."""
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
        self.agreed = torch.zeros(0, device=self.device)  # [N] views that lately agreed with each more than not
        self.background = torch.zeros(3, device=self.device)  # colour 0..1, seen where the Gaussians are transparent
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
    def geometry(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means, quats, scales and opacities, without gradients: what says how the Gaussians cover a view."""
        return self.means.detach(), self.quats.detach(), self.scales.detach(), self.opacities.detach()

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
            name: (torch.cat([first, torch.zeros_like(rows[name])]), torch.cat([second, torch.zeros_like(rows[name])]))
            for name, (first, second) in self.moments.items()
        }
        uids = torch.arange(self.next_uid, self.next_uid + count, device=self.device)
        self.uids = torch.cat([self.uids, uids])
        self.born_step = torch.cat([self.born_step, torch.full((count,), step, dtype=torch.int64, device=self.device)])
        self.agreed = torch.cat([self.agreed, torch.zeros(count, device=self.device)])
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
        self.agreed = select(self.agreed)

    def extract(self, rows: Tensor) -> GaussianModel:
        """A model of its own of the Gaussians at `rows` ([R] int64 rising), with all that is stored of them."""
        part = GaussianModel(self.sh_degree, self.device)
        part.parameters = {name: value.detach()[rows].clone() for name, value in self.parameters.items()}
        part.moments = {name: (one[rows].clone(), two[rows].clone()) for name, (one, two) in self.moments.items()}
        part.uids, part.born_step = self.uids[rows].clone(), self.born_step[rows].clone()
        part.agreed = self.agreed[rows].clone()
        part.background, part.next_uid = self.background.clone(), self.next_uid
        return part

    def insert(self, part: GaussianModel) -> None:
        """Take in what `extract` gave of this map and was removed since, under its uids; ValueError where one of them
        is taken.
        """
        if (self.rows_of(part.uids) >= 0).any():
            raise ValueError("some of these Gaussians are in the map")
        order = torch.cat([self.uids, part.uids]).argsort()

        def joined(own: Tensor, more: Tensor) -> Tensor:
            return torch.cat([own.detach(), more.detach().to(self.device)])[order]

        self.parameters = {name: joined(value, part.parameters[name]) for name, value in self.parameters.items()}
        self.moments = {
            name: (joined(one, part.moments[name][0]), joined(two, part.moments[name][1]))
            for name, (one, two) in self.moments.items()
        }
        self.uids, self.born_step = joined(self.uids, part.uids), joined(self.born_step, part.born_step)
        self.agreed = joined(self.agreed, part.agreed)

    def rows_of(self, uids: Tensor) -> Tensor:
        """Rows of Gaussians by uid, [M] int64; -1 for those that are gone."""
        if len(self) == 0:
            return torch.full_like(uids, -1)
        rows = torch.searchsorted(self.uids, uids).clamp_max(len(self) - 1)
        return torch.where(self.uids[rows] == uids, rows, torch.full_like(rows, -1))

    def carried(self, uids: Tensor, values: Tensor) -> Tensor:
        """Values [M] of the Gaussians `uids` by the rows of now, [N]; 0 for those that came since."""
        if torch.equal(uids, self.uids):
            return values
        rows = self.rows_of(uids)
        carried = torch.zeros(len(self), dtype=values.dtype, device=values.device)
        carried[rows[rows >= 0]] = values[rows >= 0]
        return carried

    def to(self, device: torch.device) -> None:
        """Move everything to another device."""
        self.device = device
        self.background = self.background.to(device)
        self.map_rows(lambda value: value.detach().to(device))

    def frozen(self) -> FrozenGaussians:
        """A copy that shares nothing with this map and is never trained (for snapshots)."""
        copy = FrozenGaussians(self.sh_degree, self.device)
        copy.parameters = {name: value.detach().clone() for name, value in self.parameters.items()}
        copy.moments = {}
        copy.uids, copy.born_step, copy.agreed = self.uids.clone(), self.born_step.clone(), self.agreed.clone()
        copy.next_uid = self.next_uid
        copy.background = self.background.clone()
        return copy

    def saved(self) -> SavedState:
        """For a map file. The optimiser's moments are left out: they settle again."""
        arrays = {f"gaussians/{name}": value.detach().cpu().numpy() for name, value in self.parameters.items()}
        arrays |= {"rows/uids": self.uids.cpu().numpy(), "rows/born_step": self.born_step.cpu().numpy()}
        arrays |= {"rows/agreed": self.agreed.cpu().numpy()}
        info = {"sh_degree": self.sh_degree, "next_uid": self.next_uid, "background": self.background.tolist()}
        return SavedState(arrays, info)

    def restore(self, state: SavedState) -> None:
        """Become what `saved` gave, bands of harmonics that it lacks starting at none.

        KeyError, TypeError or ValueError where it lacks or garbles something; MapFileError where it has more harmonics
        than this map. This map is to be thrown away then.
        """
        arrays, info = state
        uids, born_step = (arrays[f"rows/{name}"].astype(np.int64) for name in ("uids", "born_step"))
        parameters = {name: arrays[f"gaussians/{name}"].astype(np.float32) for name in self.parameters}
        parameters["sh"] = _harmonics(parameters["sh"], int(info["sh_degree"]), self.sh_degree)
        for name, shape in self.row_shapes().items():
            wanted, value = (len(uids), *shape), parameters[name]
            if value.shape != wanted or not np.isfinite(value).all():
                raise ValueError(f"{name} has shape {value.shape}, wanted {wanted} of finite numbers")
        agreed = arrays.get("rows/agreed", np.zeros(len(uids)))  # in files of before it was kept, nothing did
        if agreed.shape != uids.shape or not np.isfinite(agreed).all():
            raise ValueError(f"views agree with {agreed.shape} Gaussians of {uids.shape}")
        if born_step.shape != uids.shape or (np.diff(uids) <= 0).any():
            raise ValueError("Gaussian ids are not unique and sorted")
        # Black in files of before it was kept.
        background = torch.tensor(info.get("background", [0.0] * 3), dtype=torch.float32)
        if background.shape != (3,) or not ((background >= 0) & (background <= 1)).all():
            raise ValueError(f"the background {background.tolist()} is no colour: three numbers in 0..1")
        self.next_uid = int(info["next_uid"])
        if len(uids) and self.next_uid <= uids[-1]:
            raise ValueError(f"the next Gaussian's id, {self.next_uid}, is taken")
        self.parameters = {name: torch.from_numpy(value).to(self.device) for name, value in parameters.items()}
        self.moments = {
            name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in self.parameters.items()
        }
        self.uids, self.born_step = (torch.from_numpy(value).to(self.device) for value in (uids, born_step))
        self.agreed = torch.from_numpy(agreed.astype(np.float32)).to(self.device)
        self.background = background.to(self.device)


def _harmonics(sh: np.ndarray, degree: int, wanted: int) -> np.ndarray:
    """Harmonics [N, (degree + 1)^2, 3] with as many bands as `wanted` has."""
    if degree > wanted:
        raise MapFileError(
            f"has spherical harmonics of degree {degree}, the mapper {wanted}: set sh_degree to {degree}"
        )
    if sh.shape[1:] != ((degree + 1) ** 2, 3):
        raise ValueError(f"sh has shape {sh.shape}, which is not of degree {degree}")
    return np.pad(sh, ((0, 0), (0, (wanted + 1) ** 2 - sh.shape[1]), (0, 0)))


class FrozenGaussians(GaussianModel):
    """A map that is never changed: what follows from its parameters is computed once."""

    @cached_property
    def scales(self) -> Tensor:  # [N, 3] metres
        return super().scales

    @cached_property
    def opacities(self) -> Tensor:  # [N] 0..1
        return super().opacities
