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
from cgc_ros.stereo.consistency import Consistency, PosedDepth, check_consistency, with_consistency
from cgc_ros.stereo.depth_filling import filled
from cgc_ros.stereo.guess_placement import beyond_cameras
from cgc_ros.stereo.matcher import StereoResult, StereoView
from cgc_ros.stereo.partners import choose_partners
from cgc_ros.stereo.plane_sweep import common_depth, stereo_depth

MAX_WAITING = 48  # keyframes that wait for stereo; beyond it the least urgent one gives up


@dataclass(frozen=True)
class SeedDepth:
    """Where a keyframe's new Gaussians may lie."""

    keyframe: Keyframe
    depth: np.ndarray  # [H, W] float32, metres, 0 = none
    guessed: np.ndarray  # [H, W] bool: filled in from its surroundings rather than measured
    confidence: np.ndarray  # [H, W] float32: 1 for a depth camera, less for stereo, 0 for a guess


@dataclass
class _Waiting:
    keyframe: Keyframe
    urgency: float  # share of its view that the map did not explain when it came
    tried_with: int = -1  # newest keyframe at the last try
    tries: int = 0


class DepthSource:
    """Decides which keyframe is seeded next, and at which depth.

    Stereo takes as long as many training steps, and frames may come faster than that: keyframes without depth wait
    here until the mapper's budget comes to them.
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
        self._checked_by: dict[int, int] = {}  # how many witnesses stereo depth was last checked against, by keyframe
        self._common_depths: list[float] = []  # what failed starts found to be roughly how far everything is
        self.is_guessed = False  # the map stands on a guess, and no stereo has settled since

    @property
    def waiting(self) -> list[int]:
        """Keyframes without depth, by id, oldest first."""
        return sorted(self._waiting)

    def urgency(self, keyframes: KeyframeStore) -> float | None:
        """The greatest share of its view that the map did not explain, among the keyframes that wait and have a new
        partner to be tried with; None where there is none.
        """
        newest = keyframes.newest()
        open_ones = [each.urgency for each in self._waiting.values() if newest and each.tried_with != newest.id]
        return max(open_ones, default=None)

    def look_again(self, unexplained: Callable[[Keyframe], float], explained: float) -> None:
        """Ask how much of its view the map explains by now of the keyframe that would be matched next, until that is
        one that was asked already. Those of which less than a share `explained` is not are trained on while they wait.
        """
        asked: set[int] = set()
        while self._waiting and len(asked) < self.config.looks_again:
            keyframe_id = min(self._waiting, key=self._turn)
            if keyframe_id in asked:
                return
            asked.add(keyframe_id)
            waiting = self._waiting[keyframe_id]
            waiting.urgency = unexplained(waiting.keyframe)
            waiting.keyframe.ready = waiting.urgency < explained

    def measured(self, keyframe: Keyframe) -> SeedDepth | None:
        """The depth of a keyframe's own image; None where it has none."""
        depth = keyframe.world_depth()
        if depth is None:
            return None
        self._begun(guessed=False)
        depth, guessed = filled(depth, keyframe.world_image(), self.filling)
        return SeedDepth(keyframe, depth, guessed, (~guessed).astype(np.float32))

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
        self._checked_by.pop(keyframe_id, None)
        waiting = self._waiting.pop(keyframe_id, None)
        if waiting is not None:
            waiting.keyframe.ready = True

    def match_next(
        self, keyframes: KeyframeStore, rendered_depth: Callable[[Keyframe], np.ndarray | None]
    ) -> SeedDepth | None:
        """Stereo depth of the most urgent keyframe that waits; None where none has a partner that it was not tried
        with. At most one is matched in a call.

        `rendered_depth` gives the map's own depth in a keyframe's view ([h, w] of any size, 0 unknown), None where
        there is no map yet.
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
                return self._start(reference, sources, keyframes)
            result = self._match(reference, sources, prior, self.config.min_coverage)
            if result is None and waiting.tries >= self.config.max_tries:
                self.forget(keyframe_id)
            return None if result is None else self._settled(reference, result, keyframes)
        return None

    def match(self, reference: Keyframe, keyframes: KeyframeStore) -> StereoResult | None:
        """Stereo depth of a keyframe with no map to ask; None where it settles too little. For a recording that is
        there as a whole: the nearest are far enough, and tell how far the scene is and so which partners suit.
        """
        others = _others(reference, keyframes)
        first = self._match(reference, self._partners(reference, others, None), None, self.config.min_coverage)
        if first is None:
            return None
        partners = self._partners(reference, others, float(first.depth[first.depth > 0].median()))
        return self._match(reference, partners, None, self.config.min_coverage) or first

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

    def _start(self, reference: Keyframe, sources: list[StereoView], keyframes: KeyframeStore) -> SeedDepth | None:
        """The first depth of a map: from stereo, or after many failures a guess, one distance for the whole view.

        Training finds the shape of what was guessed from the parallax that later keyframes bring, as it does from
        structure from motion's few points.
        """
        result = self._match(reference, sources, None, self.config.start_coverage)
        if result is not None:
            return self._settled(reference, result, keyframes)
        self._failed_starts += 1
        common = common_depth(self._view(reference), sources, self.stereo)
        if common is not None:
            self._common_depths = [*self._common_depths, common][-self.config.start_tries :]
        if self._failed_starts < self.config.start_tries or common is None:
            return None
        self.forget(reference.id)
        guess = np.full(reference.image.shape[:2], np.median(self._common_depths), np.float32)
        self._begun(guessed=True)
        return SeedDepth(reference, guess, np.ones(guess.shape, bool), np.zeros_like(guess))

    def _settled(self, reference: Keyframe, result: StereoResult, keyframes: KeyframeStore) -> SeedDepth:
        """Stereo depth, as far as the keyframes that have depth bear it out; and one of them checked again in turn."""
        self.forget(reference.id)
        self._begun(guessed=False)
        witnesses = self._witnesses(reference, result.depth, keyframes)
        checked = with_consistency(result, self._check(reference, result.depth, witnesses))
        if (checked.depth > 0).any():
            result = checked
        depth = result.depth.cpu().numpy()
        reference.depth, reference.depth_trust = depth.astype(np.float16), self.config.stereo_trust
        self._check_again(witnesses, keyframes)
        depth, guessed = filled(depth, reference.world_image(), self.filling)
        centres = np.stack([keyframe.world_from_camera[:3, 3] for keyframe in keyframes])
        placed = beyond_cameras(
            depth * guessed, reference.intrinsics, reference.world_from_camera, centres, self.filling
        )
        return SeedDepth(reference, np.where(guessed, placed, depth), guessed, result.confidence.cpu().numpy())

    def _check_again(self, matched: list[Keyframe], keyframes: KeyframeStore) -> None:
        """Of some keyframes, drop from the stereo depth of the one with the fewest witnesses what is refuted since."""
        wanted = self.stereo.consistency.witnesses
        open_ones = [keyframe for keyframe in matched if self._checked_by.get(keyframe.id, wanted) < wanted]
        if not open_ones:
            return
        keyframe = min(open_ones, key=lambda keyframe: self._checked_by[keyframe.id])
        depth = self._known_depth(keyframe)
        if keyframe.depth is None or depth is None:
            return
        consistency = self._check(keyframe, depth, self._witnesses(keyframe, depth, keyframes))
        if consistency.refuted.any():
            keyframe.depth = np.where(consistency.refuted.cpu().numpy(), np.float16(0), keyframe.depth)

    def _check(self, keyframe: Keyframe, depth: torch.Tensor, witnesses: list[Keyframe]) -> Consistency:
        self._checked_by[keyframe.id] = len(witnesses)
        depths = [(witness, self._known_depth(witness)) for witness in witnesses]
        others = [_posed(witness, known) for witness, known in depths if known is not None]
        return check_consistency(_posed(keyframe, depth), others, self.stereo.consistency)

    def _witnesses(self, keyframe: Keyframe, depth: torch.Tensor, keyframes: KeyframeStore) -> list[Keyframe]:
        """Keyframes with depth that see what `keyframe` sees ([H, W], 0 = none) from another side."""
        others = [other for other in _others(keyframe, keyframes) if other.depth is not None]
        known, config = depth[depth > 0], self.stereo.consistency
        if not others or not len(known):
            return []
        reach = config.witness_reach * float(known.median())
        chosen = choose_partners(keyframe, others, config.witnesses, reach, self.stereo)
        return [others[index] for index in chosen]

    def _known_depth(self, keyframe: Keyframe) -> torch.Tensor | None:
        """Its depth, [H, W], of half precision where nothing of it is ignored: only some of it is looked up."""
        depth = keyframe.depth if keyframe.ignore is None else keyframe.world_depth()
        return None if depth is None else torch.from_numpy(depth).to(self.device)

    def _begun(self, guessed: bool) -> None:
        """There is depth, or a guess, to build on: a start's failures are forgotten."""
        self.is_guessed, self._failed_starts, self._common_depths = guessed, 0, []

    def _sources(self, reference: Keyframe, keyframes: KeyframeStore, prior: np.ndarray | None) -> list[StereoView]:
        """The best partners of a keyframe among all others."""
        others = _others(reference, keyframes)
        if prior is None:
            return self._partners(reference, others, self._start_hint(reference, others))
        hint = reference.median_depth or None  # somewhere new: as far away, perhaps, as what was seen before
        if (prior > 0).mean() > 0.2:
            hint = float(np.median(prior[prior > 0]))
        return self._partners(reference, others, hint)

    def _partners(self, reference: Keyframe, others: list[Keyframe], hint: float | None) -> list[StereoView]:
        """The best of some keyframes to match one with; `hint`: how far its view may be (`choose_partners`)."""
        chosen = choose_partners(reference, others, self.stereo.max_sources, hint, self.stereo)
        return [self._view(others[index]) for index in chosen]

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
    ) -> StereoResult | None:
        """Stereo depth of a keyframe, None where it settles less than a share of what its view shows of the world."""
        result = stereo_depth(self._view(reference), sources, self.stereo, prior)
        share = float((result.depth > 0).float().mean())
        return result if share >= min_coverage * reference.world_share else None

    def _view(self, keyframe: Keyframe) -> StereoView:
        image = torch.from_numpy(keyframe.world_image()).to(self.device)
        return StereoView(image, keyframe.intrinsics, keyframe.world_from_camera, keyframe.ignore)


def _others(reference: Keyframe, keyframes: KeyframeStore) -> list[Keyframe]:
    return [other for other in keyframes if other.id != reference.id]


def _posed(keyframe: Keyframe, depth: torch.Tensor) -> PosedDepth:
    return PosedDepth(depth, keyframe.intrinsics, torch.from_numpy(keyframe.world_from_camera))
