"""How sure it is that each object is where the map has it: log odds with memory, from every view that tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping.change_config import ExistenceConfig
from cgc_ros.mapping.view_comparison import told


@dataclass
class Presence:
    """What views said of one object."""

    log_odds: float = 0.0
    confirmations: int = 0  # views that agreed
    most: float = 0.0  # pixels of the comparison that told of it in the view that told most
    last_confirmed_ns: int = 0
    first_confirmed_ns: int = 0
    usual: list[float] = field(default_factory=list)  # share that differs beyond each margin in views that agree
    asked: int = 0  # times that keyframes were asked about it
    judged: bool = False  # whether it is known to be new, or to have been there before

    @property
    def existence(self) -> float:
        """0..1."""
        return float(1 / (1 + np.exp(-self.log_odds)))

    def learn(self, counts: np.ndarray, memory: float) -> None:
        """A view agrees: this is how it usually differs."""
        margins = (len(counts) - 1) // 2
        total = max(float(counts.sum()), 1e-9)
        beyond = [
            float(counts[1 + k : margins + 1].sum() + counts[margins + 1 + k :].sum()) / total for k in range(margins)
        ]
        before = self.usual if len(self.usual) == margins else beyond
        self.usual = [memory * old + (1 - memory) * new for old, new in zip(before, beyond, strict=True)]


class ExistenceTable:
    """Presences by object id."""

    def __init__(self, config: ExistenceConfig):
        self.config = config
        self.of: dict[int, Presence] = {}

    def hear(self, object_id: int, counts: np.ndarray, stamp_ns: int) -> bool:
        """One view: how much of the object shows each level of difference ([2 K + 1] pixels, `depth_levels`); whether
        it is gone by now.

        A view that tells of a small part of it hardly counts, and one that is divided not at all. What was never seen
        to be there for sure cannot be missed, nor what never fitted well.
        """
        config, presence = self.config, self.of.setdefault(object_id, Presence())
        level = self.level(object_id)
        heard = told(counts, len(presence.usual) - 1 if level is None else level)
        share = heard.both / max(presence.most, heard.both, 1e-9)
        if heard.both < config.min_pixels or share < config.min_share:
            return False
        gain = config.gain * min(1.0, 1.5 * share)
        if heard.agrees >= config.agrees * heard.both:
            presence.most = max(heard.both, 0.98 * presence.most)
            presence.log_odds = min(presence.log_odds + gain, config.limit)
            presence.confirmations += 1
            presence.last_confirmed_ns = stamp_ns
            presence.first_confirmed_ns = presence.first_confirmed_ns or stamp_ns
            presence.learn(counts, config.memory)
        elif (
            heard.through >= config.refuted * heard.both
            and level is not None
            and presence.confirmations >= config.confirmations
        ):
            presence.log_odds = max(presence.log_odds - gain, -config.limit)
        return presence.log_odds < config.absent

    def level(self, object_id: int) -> int | None:
        """The first margin by which an object hardly ever differs; None where there is none."""
        presence = self.of.get(object_id)
        if presence is None:
            return None
        return next((k for k, share in enumerate(presence.usual) if share <= self.config.usual), None)

    def is_suspect(self, object_id: int) -> bool:
        """Whether an object that was sure is less so by now."""
        presence = self.of.get(object_id)
        return (
            presence is not None
            and presence.confirmations >= self.config.confirmations
            and presence.log_odds < self.config.limit - self.config.gain
        )

    def forget_all_but(self, object_ids: set[int]) -> None:
        """Objects that are no more."""
        self.of = {key: presence for key, presence in self.of.items() if key in object_ids}

    def saved(self) -> SavedState:
        """For a map file."""
        return SavedState({}, {"presence": {key: asdict(each) for key, each in self.of.items()}})

    def restore(self, state: SavedState) -> None:
        """Go on from what `saved` gave; nothing is known in files of before it was kept.

        KeyError, TypeError or ValueError where it garbles something.
        """
        self.of = {int(key): Presence(**each) for key, each in state.info.get("presence", {}).items()}
        if not all(np.isfinite(each.log_odds) for each in self.of.values()):
            raise ValueError("the presence of objects is not finite")
