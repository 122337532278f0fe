"""How much every Gaussian shows of itself in the keyframes: what decides who leaves a map that is full."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.config import DensityConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.rendering import mask_votes, rasterize


class MapContribution:
    """Measures each Gaussian's largest contribution to a keyframe: the sum of its blending weights (alpha times
    transmittance) over a view's pixels, as a share of the view.

    The largest, not the sum: a place that few keyframes show counts as much as one that many show. Keyframes are looked
    at in rounds, a few whenever values are asked for; what the last whole round and this one found holds. A Gaussian
    counts as unseen only after a round in which all keyframes looked at it.
    """

    def __init__(self, model: GaussianModel, keyframes: KeyframeStore, config: DensityConfig, backend: str):
        self.model, self.keyframes, self.config, self.backend = model, keyframes, config, backend
        self._uids = model.uids  # [M] Gaussians at the last look
        self._last, self._found = (torch.zeros(len(model), device=model.device) for _ in range(2))  # [M] by round
        self._begun = False
        self._looked: set[int] = set()  # keyframes of this round
        self._round_uid = 0  # Gaussians from here on came after this round had begun
        self._judged_uid = 0  # those below were there through a whole round

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device."""
        self.backend = backend
        self._uids, self._last, self._found = (each.to(device) for each in (self._uids, self._last, self._found))

    def measure(self) -> Tensor:
        """Look again from some keyframes; share of a view [N], infinite for Gaussians of which nothing is known yet."""
        if not self._begun:
            self._begun = True
            for keyframe in self.keyframes.spread(self.config.contribution_first):
                self.look(keyframe)
        waiting = [keyframe for keyframe in self.keyframes if keyframe.id not in self._looked]
        for keyframe in waiting[: self.config.contribution_again]:
            self.look(keyframe)
        if len(waiting) <= self.config.contribution_again:
            self._end_round()
        self._follow_rows()
        value = torch.maximum(self._last, self._found)
        return torch.where((value == 0) & (self.model.uids >= self._judged_uid), torch.inf, value)

    def look(self, keyframe: Keyframe, seeds: GaussianSeeds | None = None) -> Tensor:
        """Contributions to one keyframe as the map is now, share of the view [N]; with M `seeds`, as if they had joined
        it, [N + M].
        """
        self._follow_rows()
        if not self._looked:
            self._round_uid = self.model.next_uid
        geometry = self.model.geometry
        if seeds is not None:
            means, quats, scales, opacities = geometry
            geometry = (
                torch.cat([means, seeds.means.to(means)]),
                torch.cat([quats, seeds.quats.to(quats)]),
                torch.cat([scales, seeds.scales.to(scales)]),
                torch.cat([opacities, seeds.opacities.to(opacities)]),
            )
        share = contributions(geometry, keyframe, self.config.contribution_width, self.backend)
        self._found = torch.maximum(self._found, share[: len(self.model)])
        self._looked.add(keyframe.id)
        return share

    def _end_round(self) -> None:
        self._last, self._found = self._found, torch.zeros_like(self._found)
        self._looked.clear()
        self._judged_uid = self._round_uid

    def _follow_rows(self) -> None:
        """Bring what was found into the order of the model's rows."""
        self._last, self._found = (self.model.carried(self._uids, each) for each in (self._last, self._found))
        self._uids = self.model.uids


@torch.no_grad()
def contributions(
    geometry: tuple[Tensor, Tensor, Tensor, Tensor],  # as GaussianModel.geometry
    keyframe: Keyframe,
    width: int,  # of the render, pixels
    backend: str,
) -> Tensor:
    """Sum of each Gaussian's blending weights over a keyframe's pixels, but for ignored ones, share of the view [N]."""
    device = geometry[0].device
    camera = keyframe.camera(1.0, device)
    camera = camera.scaled_to(width, max(1, round(width * camera.height / camera.width)))
    if keyframe.ignore is None:
        sums = rasterize(*geometry, camera, contribution=True, backend=backend).contribution
    else:  # votes for one label are the same sums, over its pixels alone
        ignored = touched_resized(keyframe.ignore, camera.width, camera.height)
        labels = torch.from_numpy(-ignored.astype(np.int32)).to(device)
        sums = mask_votes(*geometry, camera, labels, 1, backend=backend)[:, 0]
    return sums / (camera.width * camera.height)
