"""Depth to seed new Gaussians at: the camera's own where it has one, stereo between keyframes otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore


class DepthSource:
    """Decides which keyframes can be seeded now, and at which depth."""

    def depths_for(self, keyframe: Keyframe, keyframes: KeyframeStore) -> Iterator[tuple[Keyframe, np.ndarray]]:
        """Keyframes to seed now with a depth image each ([H, W] float32 metres, 0 = invalid)."""
        if keyframe.depth is not None and (keyframe.depth > 0).any():
            yield keyframe, keyframe.depth.astype(np.float32)
