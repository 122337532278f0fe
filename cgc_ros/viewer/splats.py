"""A snapshot's Gaussians as the browser draws them, and their colours."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch

from cgc_ros.gaussians.surface import plain_colors
from cgc_ros.mapping import MapSnapshot
from cgc_ros.palette import id_color
from cgc_ros.rendering.quaternions import rotation_matrices

MAX_SPLATS = 150_000  # sent to a page: 32 bytes each, sorted by it at every move of the view
OBJECT_TINT = 0.6  # share of the object's colour, the rest is its own lightness
BACKGROUND_TINT = 0.2
FADED = 0.75  # share of white in what is not selected
UNLABELLED_COLOR = (150, 150, 155)


@dataclass(frozen=True)
class SplatSet:
    """N Gaussians in units of `unit` metres, which keeps covariances within half precision."""

    centers: np.ndarray  # [N, 3] float32
    covariances: np.ndarray  # [N, 3, 3] float32
    rgb: np.ndarray  # [N, 3] uint8, the view-independent colour
    opacities: np.ndarray  # [N, 1] uint8
    ids: np.ndarray  # [N] int32 object id, -1 none
    part_ids: np.ndarray  # [N] int32 part id, -1 none
    unit: float  # metres

    @staticmethod
    @torch.no_grad()
    def of(snapshot: MapSnapshot, limit: int = MAX_SPLATS) -> SplatSet:
        """The snapshot's Gaussians; of more than `limit`, those that cover most: opacity times area."""
        model, unit = snapshot.model, max(snapshot.scene_depth, 1e-6) / 50
        rows: slice | torch.Tensor = slice(None)
        if len(model) > limit:
            covering = model.opacities * model.sizes**2
            rows = torch.topk(covering, limit).indices.sort().values
        axes = rotation_matrices(model.quats[rows]) * (model.scales[rows] / unit)[:, None, :]
        opacities = (model.opacities[rows] * 255).round().to(torch.uint8)[:, None]
        return SplatSet(
            (model.means[rows] / unit).cpu().numpy(),
            (axes @ axes.transpose(1, 2)).cpu().numpy(),
            plain_colors(model.sh[rows]).cpu().numpy(),
            opacities.cpu().numpy(),
            snapshot.object_ids[rows].cpu().numpy(),
            snapshot.part_ids[rows].cpu().numpy(),
            unit,
        )

    def colors(self, by_object: bool, selected: int | None, background: Set[int]) -> np.ndarray:
        """Colours [N, 3] uint8: their own or their object's. With a selection, all others fade, and `by_object` tells
        the selected object's parts apart.
        """
        colors = tinted(self.rgb, self.ids, background) if by_object else self.rgb
        if selected is None:
            return colors
        mine = self.ids == selected
        colors = np.where(mine[:, None], colors, faded(colors))
        if by_object and (cut := mine & (self.part_ids >= 0)).any():
            colors[cut] = tinted(self.rgb[cut], self.part_ids[cut], background=set())
        return colors


def tinted(rgb: np.ndarray, ids: np.ndarray, background: Set[int]) -> np.ndarray:
    """Colours [N, 3] uint8 tinted by object ids [N], background less so: the lightness of the surface stays visible."""
    known, dense = np.unique(ids, return_inverse=True)
    palette = np.array([UNLABELLED_COLOR if each < 0 else id_color(int(each)) for each in known], dtype=np.float32)
    weak = [each < 0 or int(each) in background for each in known]
    share = np.where(weak, BACKGROUND_TINT, OBJECT_TINT).astype(np.float32)[dense][:, None]
    return (share * palette.reshape(-1, 3)[dense] + (1 - share) * rgb).round().astype(np.uint8)


def faded(rgb: np.ndarray) -> np.ndarray:
    """Colours [N, 3] uint8 as seen through fog."""
    grey = rgb.astype(np.float32).mean(axis=1, keepdims=True)
    return ((1 - FADED) * grey + FADED * 255).round().astype(np.uint8).repeat(3, axis=1)
