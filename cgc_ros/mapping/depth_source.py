"""Depth to seed new Gaussians at: the camera's own where it has one, stereo between keyframes otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.stereo import StereoConfig, StereoView, choose_sources, stereo_depth

MIN_COVERAGE = 0.05  # share of pixels that stereo must settle for a keyframe's depth to be used
SOURCE_WINDOW = 24  # newest keyframes that are looked at for stereo sources
STEREO_TRUST = 0.3  # weight of stereo depth in training, relative to a depth camera's
MAX_WAITING = 12  # keyframes that wait for a partner; older ones give up


@dataclass(frozen=True)
class SeedDepth:
    """Where a keyframe's new Gaussians may lie."""

    keyframe: Keyframe
    depth: np.ndarray  # [H, W] float32, metres, 0 = none
    guessed: np.ndarray  # [H, W] bool: filled in from its surroundings rather than measured


class DepthSource:
    """Decides which keyframes can be seeded now, and at which depth."""

    def __init__(self, device: torch.device, config: StereoConfig | None = None):
        self.device, self.config = device, config or StereoConfig()
        self.waiting: list[int] = []  # keyframes without depth, oldest first

    def depths_for(
        self,
        keyframe: Keyframe,
        keyframes: KeyframeStore,
        rendered_depth: Callable[[Keyframe], np.ndarray | None],
    ) -> Iterator[SeedDepth]:
        """Keyframes to seed now that `keyframe` has joined: itself, and without depth images those that waited for it.

        `rendered_depth` gives the map's own depth in a keyframe's view ([H, W], 0 unknown), None where there is no
        map yet.
        """
        if keyframe.depth is not None and (keyframe.depth > 0).any():
            yield SeedDepth(keyframe, *_filled(keyframe.depth.astype(np.float32)))
            return
        self.waiting.append(keyframe.id)
        for waiting in self.waiting[-MAX_WAITING:]:
            reference = keyframes.keyframes.get(waiting)
            depth = None if reference is None else self._match(reference, keyframes, rendered_depth(reference))
            if depth is not None:
                self.waiting.remove(waiting)
                reference.depth, reference.depth_trust = depth.astype(np.float16), STEREO_TRUST
                yield SeedDepth(reference, *_filled(depth))
        self.waiting = self.waiting[-MAX_WAITING:]

    def _match(self, reference: Keyframe, keyframes: KeyframeStore, prior: np.ndarray | None) -> np.ndarray | None:
        """Stereo depth of a keyframe against its neighbours ([H, W] float32), None while no neighbour fits."""
        others = [other for other in list(keyframes)[-SOURCE_WINDOW:] if other.id != reference.id]
        views = [self._view(other) for other in others]
        hint = None
        if prior is not None and (prior > 0).mean() > 0.2:
            hint = float(np.median(prior[prior > 0]))
        view = self._view(reference)
        sources = choose_sources(view, views, self.config.max_sources, hint)
        if not sources:
            return None
        depth = stereo_depth(view, [views[index] for index in sources], self.config, prior).depth.cpu().numpy()
        return depth if (depth > 0).mean() >= MIN_COVERAGE else None

    def _view(self, keyframe: Keyframe) -> StereoView:
        image = torch.from_numpy(keyframe.image).to(self.device)
        return StereoView(image, keyframe.intrinsics, keyframe.world_from_camera)


def _filled(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every pixel the depth of the nearest settled one, smoothed: plain surfaces need Gaussians to be trained
    at all.
    """
    guessed = depth <= 0
    if not guessed.any():
        return depth, guessed
    rows, columns = distance_transform_edt(guessed, return_distances=False, return_indices=True)
    nearest = depth[rows, columns]
    smooth = cv2.GaussianBlur(nearest, (0, 0), depth.shape[1] / 40)
    return np.where(guessed, smooth, depth).astype(np.float32), guessed
