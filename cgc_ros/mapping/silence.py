"""Keyframes that say nothing any more of what they showed: it has left, or something stands before it now."""

from __future__ import annotations

from collections.abc import Iterable

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.change_config import ChangeConfig
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.mapping.object_matter import shown_pixels
from cgc_ros.mapping.part_segmenter import PartSegmenter
from cgc_ros.mapping.segmenter import MapSegmenter

_RENEWED_PER_STEP = 2


class Silence:
    """Makes keyframes ignore pixels, and has their masks said anew, a little at every training step."""

    def __init__(
        self,
        keyframes: KeyframeStore,
        segmenter: MapSegmenter,
        parts: PartSegmenter,
        config: ChangeConfig,
        backend: str,
    ):
        self.keyframes, self.segmenter, self.parts = keyframes, segmenter, parts
        self.config, self.backend = config, backend
        self.to_renew: dict[int, None] = {}  # keyframes whose masks are to be said anew

    def await_renewal(self, keyframe_ids: Iterable[int]) -> None:
        """Go on with these keyframes' masks, of a file."""
        self.to_renew = dict.fromkeys(keyframe_ids)

    def of(
        self,
        matter: GaussianModel,
        level: int,
        *,
        until_ns: int | None = None,
        before_ns: int | None = None,
        only_behind: bool = False,
    ) -> None:
        """Keyframes up to a stamp (or before one) ignore from now on where they show `matter`, or its place
        (`shown_pixels`).
        """
        for keyframe in self.keyframes:
            if until_ns is not None and keyframe.stamp_ns > until_ns:
                continue
            if before_ns is not None and keyframe.stamp_ns >= before_ns:
                continue
            shown = shown_pixels(matter, keyframe, level, self.config, self.backend, only_behind=only_behind)
            if shown is not None and keyframe.ignore_pixels(shown):
                self.to_renew[keyframe.id] = None

    def step(self) -> None:
        """What is left to do of masks, a little at every training step."""
        for key in list(self.to_renew)[:_RENEWED_PER_STEP]:
            self._renew(key)

    def finish(self) -> None:
        """Do all that is left to do."""
        for key in list(self.to_renew):
            self._renew(key)

    def _renew(self, key: int) -> None:
        del self.to_renew[key]
        keyframe = self.keyframes.keyframes.get(key)
        if keyframe is not None:
            self.segmenter.renew_masks(keyframe)
            self.parts.renew_masks(keyframe)
