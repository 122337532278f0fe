"""What keyframes know of a place: whether what stands there is new, whether it is gone, which absent object it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.mapping.absent_objects import AbsentObject
from cgc_ros.mapping.change_config import ChangeConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.object_matter import matter_in_view
from cgc_ros.mapping.relocation import ColoredCloud, Relocation, relocations
from cgc_ros.mapping.relocation_check import seen_as

_EVERYWHERE = np.ones((1, 1), bool)  # of a view


@dataclass(frozen=True)
class Judgement:
    """What keyframes say of an object."""

    is_known: bool  # whether they settle that it is new, or that it is not
    since_ns: int | None = None  # of the first keyframe that shows it, where it is new


class PlaceHistory:
    """Asks the keyframes of one map."""

    def __init__(self, keyframes: KeyframeStore, config: ChangeConfig, backend: str):
        self.keyframes, self.config, self.backend = keyframes, config, backend

    def judged(self, matter: GaussianModel, level: int) -> Judgement:
        """What keyframes know of matter's place, the oldest first: new is what shows after some saw through it."""
        config, comparison = self.config.arrival, self.config.comparison
        heard = []
        for keyframe in self._that_look_at(matter):
            found = matter_in_view(matter, keyframe, comparison.width, 0.5, comparison, self.backend, keyframe.depth)
            heard.append((keyframe.stamp_ns, found.told(level, comparison)))
        least = max(config.min_pixels, config.least_view * max((told.both for _, told in heard), default=0.0))
        through = 0
        for stamp_ns, told in heard:
            if told.both < least:
                continue
            if told.agrees >= config.share * told.both:
                return Judgement(True, stamp_ns) if through >= config.seen_through else Judgement(through == 0)
            if told.through >= config.share * told.both:
                through += 1
        return Judgement(False)

    def _that_look_at(self, matter: GaussianModel) -> list[Keyframe]:
        """Keyframes in whose view matter's middle lies, by stamp, not too many."""
        middle = matter.means.detach().median(dim=0).values.cpu().numpy()
        found = [each for each in self.keyframes if bool(inside(middle[None], each, _EVERYWHERE)[0])]
        found.sort(key=lambda each: each.stamp_ns)
        count = self.config.arrival.keyframes
        if len(found) <= count:
            return found
        return [found[index] for index in np.linspace(0, len(found) - 1, count).round().astype(int)]

    def is_refuted(self, matter: GaussianModel, level: int, seen: list[Keyframe]) -> bool:
        """Whether keyframes see through what shows of an object."""
        comparison = self.config.comparison
        agrees = through = silhouette = 0.0
        for keyframe in seen:
            view = matter_in_view(matter, keyframe, comparison.width, 0.5, comparison, self.backend, keyframe.depth)
            told = view.told(level, comparison)
            agrees, through = agrees + told.agrees, through + told.through
            silhouette += float(view.silhouette.sum())
        enough = agrees + through >= self.config.existence.min_share * silhouette > 0
        return enough and through >= self.config.existence.refuted * (agrees + through)

    def identified(
        self,
        cloud: ColoredCloud,
        absent: Mapping[int, AbsentObject],
        seen: list[Keyframe],
        up: np.ndarray,
        scene_depth: float,
    ) -> tuple[int, Relocation] | None:
        """Which of the objects that are gone something new is, as the keyframes that have seen it bear out."""
        config, comparison = self.config.relocation, self.config.comparison
        margin = comparison.margins[min(comparison.plain_level, len(comparison.margins) - 1)]
        best: tuple[float, int, Relocation] | None = None
        for object_id, each in absent.items():
            if each.state != "gone":
                continue
            for found in relocations(each.cloud, cloud, up, scene_depth, config)[: config.checked]:
                views = seen[:: max(1, len(seen) // config.views)][: config.views]
                look = seen_as(each.cloud, found.transform, views, margin)
                score = look.agrees + look.likeness - look.color / config.max_color
                if look.agrees < config.min_agreement or look.color > config.max_color:
                    continue
                if best is None or score > best[0]:
                    best = score, object_id, found
        return None if best is None else best[1:]


def inside(points: np.ndarray, keyframe: Keyframe, mask: np.ndarray) -> np.ndarray:
    """Which points [P, 3] a keyframe sees within a mask [h, w] bool of any size, [P] bool."""
    k = keyframe.intrinsics
    u, v, depth = k.project(points, keyframe.world_from_camera)
    columns = np.floor((u + 0.5) * mask.shape[1] / k.width).astype(int)
    rows = np.floor((v + 0.5) * mask.shape[0] / k.height).astype(int)
    seen = (depth > 0) & (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    return seen & mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]
