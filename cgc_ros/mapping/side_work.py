"""What the mapper does beside training, a piece at a time: depth by stereo, votes of masks, updates of objects."""

from __future__ import annotations

from collections.abc import Callable

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping import nominal
from cgc_ros.mapping.budget import WorkBudget
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.mapping.depth_source import DepthSource
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.mapping.part_segmenter import PartSegmenter
from cgc_ros.mapping.segmenter import MapSegmenter

STEREO_URGENCY = 3.0  # times the unexplained share of a view: how much more its stereo may take than usual


class SideWork:
    """Knows what is due, and does one piece of it, charged to the budget."""

    def __init__(
        self,
        budget: WorkBudget,
        config: MapperConfig,
        model: GaussianModel,
        keyframes: KeyframeStore,
        segmenter: MapSegmenter,
        parts: PartSegmenter,
        depth_source: DepthSource,
    ):
        self.budget, self.config, self.model, self.keyframes = budget, config, model, keyframes
        self.segmenter, self.parts, self.depth_source = segmenter, parts, depth_source

    def due(self, step: int) -> list[str]:
        """Kinds of work that have something to do at this training step, the most useful first."""
        votes = self.segmenter.wants_votes(step) or self.parts.wants_votes()
        objects = self.segmenter.wants_update(step) or self.parts.wants_update(step)
        stereo = self.depth_source.urgency(self.keyframes) is not None
        return [kind for kind, wants in (("stereo", stereo), ("votes", votes), ("objects", objects)) if wants]

    def do(self, kind: str, step: int, scene_depth: float, match_stereo: Callable[[], None]) -> None:
        """One piece of a kind that is due.

        `scene_depth` is the typical distance of what keyframes see, metres; `match_stereo` seeds one of the keyframes
        that wait for depth.
        """
        newest, gaussians = self.keyframes.newest(), len(self.model)
        if newest is None:
            return
        if kind == "stereo":
            urgency = 1.0 + STEREO_URGENCY * (self.depth_source.urgency(self.keyframes) or 0.0)
            cost = nominal.stereo(newest, self.config.stereo.working_pixels, gaussians)
            with self.budget.spend(kind, cost, urgency):
                match_stereo()
        elif kind == "votes":
            with self.budget.spend(kind, nominal.votes(newest, self.config.segmentation.vote_scale, gaussians)):
                self._vote(step)
        else:
            with self.budget.spend(kind, nominal.piece_of_objects(len(self.keyframes), gaussians)):
                self._update_objects(step, scene_depth)

    def _vote(self, step: int) -> None:
        """The masks of a keyframe vote; those of parts when no others wait."""
        if self.segmenter.wants_votes(step):
            self.segmenter.vote(step)
        else:
            self.parts.vote()

    def _update_objects(self, step: int, scene_depth: float) -> None:
        """A piece of an update of objects; parts are cut when none is under way."""
        if self.segmenter.wants_update(step):
            self.segmenter.renew(step, scene_depth)
        else:
            self.parts.update(step, self.segmenter.layer.state)
