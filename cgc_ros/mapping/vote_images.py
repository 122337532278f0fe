"""Keyframes' masks as they vote on the Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.ignored_pixels import touched_resized
from cgc_ros.mapping.config import SegmentationConfig
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.masks import compact_masks
from cgc_ros.rendering import Camera, mask_votes
from cgc_ros.segmentation import MaskVotes, collect_votes

HIDDEN_MARGIN = 0.025  # relative depth behind a surface, from which on a Gaussian is hidden by it
MAX_STORED_ID = 65535  # of a mask in a map file


@dataclass
class VoteImage:
    """A keyframe's masks as they vote."""

    masks: np.ndarray  # [h, w] int32 at vote scale, 0..count; -1 where the keyframe says nothing
    count: int
    voted_step: int = -1

    @staticmethod
    def of(masks: np.ndarray, ignore: np.ndarray | None, config: SegmentationConfig, voted_step: int = -1) -> VoteImage:
        """Of masks [H, W] int32, 0 = no mask, without those that are too small and without ignored pixels, [H, W] bool:
        what only those show is not seen at all, which is not to be seen outside every mask.
        """
        scale = config.vote_scale
        if ignore is not None:
            masks = np.where(ignore, 0, masks)
        compact, _ = compact_masks(masks, config.min_mask_pixels)
        size = (max(1, round(masks.shape[1] * scale)), max(1, round(masks.shape[0] * scale)))
        small = cv2.resize(compact, size, interpolation=cv2.INTER_NEAREST)
        if ignore is None:
            return VoteImage(*compact_masks(small), voted_step)
        silent = touched_resized(ignore, *size)
        voting, count = compact_masks(np.where(silent, 0, small))
        return VoteImage(np.where(silent, -1, voting).astype(np.int32), count, voted_step)

    def camera(self, keyframe: Keyframe, device: torch.device) -> Camera:
        """The keyframe's view at the masks' size."""
        height, width = self.masks.shape
        return keyframe.camera(1.0, device).scaled_to(width, height)


def storable(masks: np.ndarray) -> np.ndarray:
    """Masks as a map file can hold them, in 16 bits: a user's segmenter may number its own anyhow."""
    in_range = masks.min(initial=0) >= 0 and masks.max(initial=0) <= MAX_STORED_ID
    return masks if in_range else compact_masks(masks)[0]


@torch.no_grad()
def keyframe_votes(
    model: GaussianModel, keyframe: Keyframe, image: VoteImage, backend: str, min_weight: float, opaque: bool = False
) -> MaskVotes:
    """What a keyframe's masks say about the Gaussians as they are now; `min_weight` as for `collect_votes`.

    `opaque`: nothing is seen behind what the keyframe's depth camera measured. Something new stands there, and the map
    is slow to cover what it hides.
    """
    votes = mask_votes(
        *model.geometry,
        image.camera(keyframe, model.device),
        torch.from_numpy(image.masks).to(model.device),
        image.count + 1,
        backend=backend,
    )
    if opaque:
        votes[_hidden(model.means.detach(), keyframe)] = 0.0
    return collect_votes(keyframe.id, keyframe.stamp_ns, model.uids, votes, image.masks, min_weight)


def _hidden(means: torch.Tensor, keyframe: Keyframe) -> torch.Tensor:
    """Which Gaussians ([N, 3] means) lie behind what a keyframe measured, [N] bool."""
    surface = keyframe.world_depth()
    if surface is None or keyframe.depth_trust < 1.0:
        return torch.zeros(len(means), dtype=torch.bool, device=means.device)
    camera = keyframe.camera(1.0, means.device)
    pose, depth = camera.camera_from_world, torch.from_numpy(surface).to(means.device)
    points = means @ pose[:3, :3].T + pose[:3, 3]
    z = points[:, 2].clamp_min(1e-6)
    columns = (camera.fx * points[:, 0] / z + camera.cx).round().long()
    rows = (camera.fy * points[:, 1] / z + camera.cy).round().long()
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height) & (points[:, 2] > 0)
    at = depth[rows.clamp(0, camera.height - 1), columns.clamp(0, camera.width - 1)]
    return inside & (at > 0) & (points[:, 2] > (1 + HIDDEN_MARGIN) * at)
