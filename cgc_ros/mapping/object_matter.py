"""An object's Gaussians as a thing of its own: taken out of the map, told from others in keyframes, put elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.rendering import render_model
from cgc_ros.mapping.change_config import ChangeConfig, ComparisonConfig
from cgc_ros.mapping.density import remove_rows
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.mapping.view_comparison import UNKNOWN, Told, depth_levels, num_levels, resized_depth, told
from cgc_ros.rendering.quaternions import rotation_matrices
from cgc_ros.rendering.spherical_harmonics import basis


def take_out(model: GaussianModel, rows: Tensor) -> GaussianModel:
    """Remove Gaussians ([R] int64, rising) from a map; they go on as a model of their own."""
    matter = model.extract(rows)
    remove_rows(model, rows)
    return matter


@torch.no_grad()
def moved(matter: GaussianModel, new_from_old: np.ndarray) -> GaussianModel:
    """Gaussians moved rigidly ([4, 4]): means, orientations and view-dependent colours; the same uids."""
    turn = torch.from_numpy(new_from_old[:3, :3]).to(matter.means)
    shift = torch.from_numpy(new_from_old[:3, 3]).to(matter.means)
    there = matter.extract(torch.arange(len(matter), device=matter.device))
    there.parameters["means"] = matter.means.detach() @ turn.T + shift
    there.parameters["quats"] = _quaternions(turn @ rotation_matrices(matter.quats.detach()))
    there.parameters["sh"] = rotated_harmonics(matter.sh.detach(), turn, matter.sh_degree)
    for name in ("means", "quats", "sh"):  # the optimiser's directions are those of the old place
        for moment in there.moments[name]:
            moment.zero_()
    return there


def rotated_harmonics(sh: Tensor, turn: Tensor, degree: int) -> Tensor:
    """Harmonics [N, K, 3] of what is turned by `turn` [3, 3]: seen along d it looks as it did along turn^T d.

    Every band mixes within itself; its matrix is the one that maps basis functions at many directions to those at the
    directions turned back.
    """
    if degree == 0:
        return sh
    directions = torch.nn.functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1
    )
    here, back = (basis(degree, each) for each in (directions, directions @ turn.cpu().double()))
    rotated = sh.clone()
    for band in range(1, degree + 1):
        of_band = slice(band * band, (band + 1) ** 2)
        mixing = torch.linalg.lstsq(here[:, of_band], back[:, of_band]).solution.to(sh)
        rotated[:, of_band] = torch.einsum("ij,njc->nic", mixing, sh[:, of_band])
    return rotated


def _quaternions(rotations: Tensor) -> Tensor:
    from scipy.spatial.transform import Rotation

    if len(rotations) == 0:
        return rotations.new_zeros((0, 4))
    xyzw = Rotation.from_matrix(rotations.cpu().numpy()).as_quat()
    return torch.from_numpy(xyzw[:, [3, 0, 1, 2]]).to(rotations)


@dataclass(frozen=True)
class MatterInView:
    """What a keyframe tells of some matter alone."""

    silhouette: np.ndarray  # [h, w] bool, where it would be seen if nothing stood before it
    levels: np.ndarray  # [h, w] int32 (`depth_levels`): how the keyframe's depth differs from it there

    def told(self, level: int, config: ComparisonConfig) -> Told:
        """In pixels, by the margin `level`."""
        counts = np.bincount(self.levels[self.levels >= 0], minlength=num_levels(config))
        return told(counts, level)


def matter_in_view(
    matter: GaussianModel,
    keyframe: Keyframe,
    width: int,
    min_alpha: float,
    config: ComparisonConfig,
    backend: str,
    depth: np.ndarray | None,
) -> MatterInView:
    """Render matter alone in a keyframe's view, small, and hold `depth` ([H, W] metres, 0 = invalid) against it."""
    full = keyframe.camera(1.0, matter.device)
    width = min(width, full.width)
    camera = full.scaled_to(width, max(1, round(full.height * width / full.width)))
    view = render_model(matter, camera, backend, depth=True)
    silhouette = view.alpha.cpu().numpy() >= min_alpha
    rendered = np.where(silhouette, view.depth.cpu().numpy(), np.float32(0))
    if depth is None or not silhouette.any():
        return MatterInView(silhouette, np.full(silhouette.shape, UNKNOWN, np.int32))
    return MatterInView(silhouette, depth_levels(resized_depth(depth, camera), rendered, config))


def shown_pixels(
    matter: GaussianModel,
    keyframe: Keyframe,
    level: int,
    config: ChangeConfig,
    backend: str,
    *,
    only_behind: bool = False,
) -> np.ndarray | None:
    """Where a keyframe shows matter, or what is where it is, [H, W] bool, a little widened: all of its silhouette but
    what stands nearer by the margin `level`; `only_behind`: where it surely shows what is behind. None where that is
    nowhere.
    """
    found = matter_in_view(
        matter,
        keyframe,
        config.silhouette_width,
        config.silhouette_alpha,
        config.comparison,
        backend,
        keyframe.world_depth(),
    )
    margins = len(config.comparison.margins)
    shown = found.silhouette & (found.levels <= margins + level)
    if only_behind:
        shown &= (found.levels > level) & (found.levels <= margins)
    if not shown.any():
        return None
    side = 2 * config.silhouette_margin + 1
    widened = cv2.dilate(shown.astype(np.uint8), np.ones((side, side), np.uint8))
    height, width = keyframe.image.shape[:2]
    return cv2.resize(widened, (width, height), interpolation=cv2.INTER_NEAREST) > 0
