"""Gaussians that one keyframe alone shows, far before what else it sees: they fade until another view bears them out.

What hangs before the scene, because its depth was wrong or because it explains what a single picture shows, is seen by
the camera that it is close to and passes beside the others. Surfaces that are so near are in a neighbour's view, too.
Where a depth camera tells where the surface is, `MapGrowth.carve` does this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.config import DensityConfig
from cgc_ros.mapping.contribution import contributions
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore


class LoneGaussians:
    """Looks from the keyframes in rounds, one in a call; what a whole round finds is faded at its end."""

    def __init__(self, model: GaussianModel, keyframes: KeyframeStore, config: DensityConfig, backend: str):
        self.model, self.keyframes, self.config, self.backend = model, keyframes, config, backend
        self._left: list[int] | None = None  # keyframes that this round has yet to look from; None between rounds
        self._begin()

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; the round begins again."""
        self.backend, self._left = backend, None
        self._begin()

    def look(self) -> Tensor | None:
        """Look from one more keyframe. At the end of a round, the Gaussians that one of them alone shows, and too near,
        [N] bool; None before.
        """
        if self._left is None:
            self._begin()
            self._left = [keyframe.id for keyframe in self.keyframes if keyframe.ready and keyframe.world_share > 0]
        keyframe = self.keyframes.keyframes.get(self._left.pop()) if self._left else None
        if keyframe is not None:
            self._look_from(keyframe)
        if self._left:
            return None
        self._left = None
        return self._lone()

    def _begin(self) -> None:
        """A round: contributions to the keyframe that each Gaussian contributes most to, to all, and whether it lies
        near the former.
        """
        self._uids, self._round_uid = self.model.uids, self.model.next_uid
        self._best, self._all = (torch.zeros(len(self.model), device=self.model.device) for _ in range(2))
        self._near = torch.zeros(len(self.model), dtype=torch.bool, device=self.model.device)

    def _look_from(self, keyframe: Keyframe) -> None:
        self._follow_rows()
        share = contributions(self.model.geometry, keyframe, self.config.contribution_width, self.backend)
        best = share > self._best
        self._near = torch.where(best, self._is_near(keyframe, share), self._near)
        self._best, self._all = torch.where(best, share, self._best), self._all + share

    def _is_near(self, keyframe: Keyframe, share: Tensor) -> Tensor:
        """Gaussians [N] far before the median depth of what a keyframe shows, [N] share of its view."""
        if keyframe.has_depth_camera:
            return torch.zeros_like(share, dtype=torch.bool)
        pose = torch.from_numpy(keyframe.world_from_camera).to(share)
        depth = (self.model.means.detach() - pose[:3, 3]) @ pose[:3, 2]
        order = depth.argsort()
        shown = share[order].cumsum(0)
        middle = int(torch.searchsorted(shown, 0.5 * shown[-1]).clamp_max(len(order) - 1))
        return depth < self.config.lone_depth * depth[order[middle]]

    def _lone(self) -> Tensor:
        self._follow_rows()
        looked = self.model.uids < self._round_uid  # from every keyframe
        return looked & self._near & (self._best > self.config.lone_share * self._all)

    def _follow_rows(self) -> None:
        """Bring what was found into the order of the model's rows."""
        self._best, self._all, self._near = (
            self.model.carried(self._uids, each) for each in (self._best, self._all, self._near)
        )
        self._uids = self.model.uids
