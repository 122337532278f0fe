"""Depth to seed new Gaussians at: the camera's own where it has one, stereo between keyframes otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.config import DepthConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.stereo.config import FillingConfig, StereoConfig
from cgc_ros.stereo.depth_filling import filled
from cgc_ros.stereo.plane_sweep import StereoView, choose_sources, common_depth, stereo_depth

MAX_WAITING = 48  # keyframes that wait for stereo; beyond it the least urgent one gives up


@dataclass(frozen=True)
class SeedDepth:
    """Where a keyframe's new Gaussians may lie."""

    keyframe: Keyframe
    depth: np.ndarray  # [H, W] float32, metres, 0 = none
    guessed: np.ndarray  # [H, W] bool: filled in from its surroundings rather than measured


@dataclass
class _Waiting:
    keyframe: Keyframe
    urgency: float  # share of its view that the map did not explain when it came
    tried_with: int = -1  # newest keyframe at the last try
    tries: int = 0


class DepthSource:
    """Decides which keyframe is seeded next, and at which depth.

    Stereo takes as long as many training steps, and frames may come faster than that: keyframes without depth wait
    here, and one of them is matched now and then, so that training goes on between them.
    """

    def __init__(
        self,
        device: torch.device,
        config: DepthConfig | None = None,
        stereo: StereoConfig | None = None,
        filling: FillingConfig | None = None,
    ):
        self.device, self.config = device, config or DepthConfig()
        self.stereo, self.filling = stereo or StereoConfig(), filling or FillingConfig()
        self._waiting: dict[int, _Waiting] = {}
        self._failed_starts = 0
        self._common_depths: list[float] = []  # what failed starts found to be roughly how far everything is
        self.is_guessed = False  # the map stands on a guess, and no stereo has settled since

    @property
    def waiting(self) -> list[int]:
        """Keyframes without depth, by id, oldest first."""
        return sorted(self._waiting)

    def measured(self, keyframe: Keyframe) -> SeedDepth | None:
        """The depth of a keyframe's own image; None where it has none."""
        depth = keyframe.world_depth()
        if depth is None:
            return None
        self._begun(guessed=False)
        return SeedDepth(keyframe, *filled(depth, keyframe.world_image(), self.filling))

    def wait(self, keyframe: Keyframe, urgency: float) -> None:
        """Let a keyframe wait for stereo; the one with the greatest `urgency` goes first.

        It is not trained on meanwhile: what is mapped would grow into what only it shows.
        """
        keyframe.ready = False
        self._waiting[keyframe.id] = _Waiting(keyframe, urgency)
        if len(self._waiting) > MAX_WAITING:
            self.forget(min(self._waiting, key=lambda key: self._waiting[key].urgency))

    def forget(self, keyframe_id: int) -> None:
        """A keyframe waits no longer."""
        waiting = self._waiting.pop(keyframe_id, None)
        if waiting is not None:
            waiting.keyframe.ready = True

    def match_next(
        self, keyframes: KeyframeStore, rendered_depth: Callable[[Keyframe], np.ndarray | None]
    ) -> SeedDepth | None:
        """Stereo depth of the most urgent keyframe that waits; None where none has a partner that it was not tried
        with. At most one is matched in a call.

        `rendered_depth` gives the map's own depth in a keyframe's view ([H, W], 0 unknown), None where there is no
        map yet.
        """
        newest = keyframes.newest()
        if newest is None:
            return None
        for keyframe_id in sorted(self._waiting, key=self._turn):
            waiting = self._waiting[keyframe_id]
            reference = waiting.keyframe
            if waiting.tried_with == newest.id:
                continue
            waiting.tried_with = newest.id
            prior = rendered_depth(reference)
            sources = self._sources(reference, keyframes, prior)
            if not sources:
                continue
            waiting.tries += 1
            if prior is None:
                return self._start(reference, sources)
            depth = self._match(reference, sources, prior, self.config.min_coverage)
            if depth is None and waiting.tries >= self.config.max_tries:
                self.forget(keyframe_id)
            return None if depth is None else self._settled(reference, depth)
        return None

    def match(self, reference: Keyframe, keyframes: KeyframeStore) -> np.ndarray | None:
        """Stereo depth of a keyframe with its nearest neighbours and no map to ask, [H, W] float32, 0 = none; None
        where it settles too little. For a recording that is there as a whole: the nearest are far enough.
        """
        sources = self._partners(reference, _in_time(reference, keyframes)[: self.config.source_window], None)
        return self._match(reference, sources, None, self.config.min_coverage) if sources else None

    def to(self, device: torch.device, backend: str) -> None:
        """Go on on another device; rendering is left to others."""
        self.device = device

    def saved(self) -> SavedState:
        """For a map file: which keyframes wait, and how urgently."""
        waiting = [[key, each.urgency, each.tried_with, each.tries] for key, each in self._waiting.items()]
        return SavedState({}, {"waiting_for_stereo": waiting, "depth_guessed": self.is_guessed})

    def restore(self, state: SavedState, keyframes: KeyframeStore) -> None:
        """Go on from what `saved` gave; nothing waits in files of before it was kept.

        KeyError, TypeError or ValueError where it garbles something.
        """
        self.is_guessed = bool(state.info.get("depth_guessed", False))
        for key, urgency, tried_with, tries in state.info.get("waiting_for_stereo", []):
            self.wait(keyframes.keyframes[int(key)], float(urgency))
            waiting = self._waiting[int(key)]
            waiting.tried_with, waiting.tries = int(tried_with), int(tries)

    def _turn(self, keyframe_id: int) -> tuple[int, float]:
        """Sorts what waits: those that failed often, at the start of a map, let others try."""
        waiting = self._waiting[keyframe_id]
        return waiting.tries // self.config.max_tries, -waiting.urgency

    def _start(self, reference: Keyframe, sources: list[StereoView]) -> SeedDepth | None:
        """The first depth of a map: from stereo, or after many failures a guess, one distance for the whole view.

        Training finds the shape of what was guessed from the parallax that later keyframes bring, as it does from
        structure from motion's few points.
        """
        depth = self._match(reference, sources, None, self.config.start_coverage)
        if depth is not None:
            return self._settled(reference, depth)
        self._failed_starts += 1
        common = common_depth(self._view(reference), sources, self.stereo)
        if common is not None:
            self._common_depths = [*self._common_depths, common][-self.config.start_tries :]
        if self._failed_starts < self.config.start_tries or common is None:
            return None
        self.forget(reference.id)
        guess = np.full(reference.image.shape[:2], np.median(self._common_depths), np.float32)
        self._begun(guessed=True)
        return SeedDepth(reference, guess, np.ones(guess.shape, bool))

    def _settled(self, reference: Keyframe, depth: np.ndarray) -> SeedDepth:
        self.forget(reference.id)
        self._begun(guessed=False)
        reference.depth, reference.depth_trust = depth.astype(np.float16), self.config.stereo_trust
        return SeedDepth(reference, *filled(depth, reference.world_image(), self.filling))

    def _begun(self, guessed: bool) -> None:
        """There is depth, or a guess, to build on: a start's failures are forgotten."""
        self.is_guessed, self._failed_starts, self._common_depths = guessed, 0, []

    def _sources(self, reference: Keyframe, keyframes: KeyframeStore, prior: np.ndarray | None) -> list[StereoView]:
        """The best partners of a keyframe among its neighbours in time, before and after it."""
        near = _in_time(reference, keyframes)
        if prior is None:  # a map's beginning looks at all: the camera may creep
            return self._partners(reference, near, self._start_hint(reference, near))
        hint = reference.median_depth or None  # somewhere new: as far away, perhaps, as what was seen before
        if (prior > 0).mean() > 0.2:
            hint = float(np.median(prior[prior > 0]))
        return self._partners(reference, near[: self.config.source_window], hint)

    def _partners(self, reference: Keyframe, near: list[Keyframe], hint: float | None) -> list[StereoView]:
        """The best of some keyframes to match one with; `hint`: how far its view may be (`choose_sources`)."""
        views = [StereoView(other.image, other.intrinsics, other.world_from_camera) for other in near]
        chosen = choose_sources(self._view(reference), views, self.stereo.max_sources, hint, self.stereo)
        return [self._view(near[index]) for index in chosen]

    def _start_hint(self, reference: Keyframe, others: list[Keyframe]) -> float | None:
        """A depth for which the widest baseline has the ideal angle, or half of it, or a quarter, in turn."""
        here = reference.world_from_camera[:3, 3]
        widest = max((np.linalg.norm(other.world_from_camera[:3, 3] - here) for other in others), default=0.0)
        if widest == 0.0:
            return None
        reach = 0.5 ** (self._failed_starts % self.config.start_reaches)
        return reach * float(widest) / math.tan(math.radians(self.stereo.ideal_angle_deg))

    def _match(
        self, reference: Keyframe, sources: list[StereoView], prior: np.ndarray | None, min_coverage: float
    ) -> np.ndarray | None:
        """Stereo depth of a keyframe ([H, W] float32), None where it settles less than a share of what its view shows
        of the world.
        """
        depth = stereo_depth(self._view(reference), sources, self.stereo, prior).depth.cpu().numpy()
        return depth if (depth > 0).mean() >= min_coverage * reference.world_share else None

    def _view(self, keyframe: Keyframe) -> StereoView:
        image = torch.from_numpy(keyframe.world_image()).to(self.device)
        return StereoView(image, keyframe.intrinsics, keyframe.world_from_camera, keyframe.ignore)


def _in_time(reference: Keyframe, keyframes: KeyframeStore) -> list[Keyframe]:
    """The others, those nearest in time first."""
    others = (other for other in keyframes if other.id != reference.id)
    return sorted(others, key=lambda other: abs(other.id - reference.id))
