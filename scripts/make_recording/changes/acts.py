"""What stands where in each act, and what happened between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from make_recording.changes.ray_cast import Thing
from make_recording.changes.stage import TABLE_HALF, extent, thing

_GAP = 0.025  # metres between things


@dataclass(frozen=True)
class Change:
    """One change; places are world_from_object [4, 4]."""

    id: int
    name: str
    kind: str  # appeared | removed | moved | returned
    source: np.ndarray | None
    target: np.ndarray | None


@dataclass
class Act:
    """A state of the table, and what led to it."""

    things: list[Thing]
    changes: list[Change] = field(default_factory=list)


class _Table:
    """The things that stand on the table while an act is written."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.standing: dict[int, Thing] = {}
        self.changes: list[Change] = []
        self.touched: set[int] = set()

    def pick(self, tall: float = 0.0) -> Thing:
        """One that nothing has happened to in this act."""
        free = [each for each in self.standing.values() if each.id not in self.touched and extent(each)[1] >= tall]
        chosen = free[int(self.rng.integers(len(free)))]
        self.touched.add(chosen.id)
        return chosen

    def put(self, what: Thing, kind: str, source: np.ndarray | None, place: np.ndarray) -> None:
        """Put a thing somewhere, and note it."""
        self.standing[what.id] = replace(what, world_from_thing=place)
        self.touched.add(what.id)
        self.changes.append(Change(what.id, what.name, kind, source, place))

    def move(self, what: Thing, **where) -> None:
        """Put a thing where there is room (`_placed`); it stays where there is none."""
        del self.standing[what.id]
        found = _placed(what, list(self.standing.values()), self.rng, **where)
        if found is None:
            self.standing[what.id] = what
        else:
            self.put(what, "moved", what.world_from_thing, found.world_from_thing)

    def swap(self, one: Thing, two: Thing) -> None:
        """Exchange two where both fit."""
        places, both = (one.world_from_thing, two.world_from_thing), {one.id, two.id}
        if all(
            _fits(replace(what, world_from_thing=place), self.standing, both)
            for what, place in ((one, places[1]), (two, places[0]))
        ):
            self.put(one, "moved", places[0], places[1])
            self.put(two, "moved", places[1], places[0])

    def bring_back(self, what: Thing) -> None:
        """Put back what was taken away, elsewhere where its place is taken."""
        found: Thing | None = what
        if not _fits(what, self.standing, set()):
            found = _placed(what, list(self.standing.values()), self.rng)
        if found is not None:
            self.put(what, "returned", what.world_from_thing, found.world_from_thing)

    def take(self, what: Thing) -> None:
        """Take a thing away."""
        del self.standing[what.id]
        self.changes.append(Change(what.id, what.name, "removed", what.world_from_thing, None))

    def end_act(self) -> Act:
        """The table as it stands, and what led to it."""
        act = Act(list(self.standing.values()), self.changes)
        self.changes, self.touched = [], set()
        return act


def play(seed: int, count: int, acts: int) -> list[Act]:
    """`count` things at first. Every act knocks one over, swaps two, moves one, brings back what the act before took
    away, removes one and adds one.
    """
    table = _Table(np.random.default_rng([seed, 3]))
    number = 0
    while len(table.standing) < count:
        found = _placed(thing(number, seed), list(table.standing.values()), table.rng)
        number += 1
        if found is not None:
            table.standing[found.id] = found
    script, away = [table.end_act()], None
    for _ in range(acts - 1):
        toppled = table.pick(tall=0.1)
        table.move(toppled, lying=True, near=toppled.world_from_thing[:2, 3])
        table.swap(table.pick(), table.pick())
        moved = table.pick()
        table.move(moved, apart=moved.world_from_thing[:2, 3])
        if away is not None:
            table.bring_back(away)
        away = table.pick()
        table.take(away)
        new = _placed(thing(number, seed), list(table.standing.values()), table.rng)
        number += 1
        if new is not None:
            table.put(new, "appeared", None, new.world_from_thing)
        script.append(table.end_act())
    return script


def _placed(
    what: Thing,
    others: list[Thing],
    rng: np.random.Generator,
    *,
    lying: bool = False,
    near: np.ndarray | None = None,
    apart: np.ndarray | None = None,
) -> Thing | None:
    """Somewhere on the table where nothing stands; None where no place is found."""
    radius, height = extent(what)
    for _ in range(300):
        turn = Rotation.from_euler("z", rng.uniform(0, 360), degrees=True)
        place = np.eye(4)
        if lying:
            turn = turn * Rotation.from_euler("y", 90, degrees=True)
            place[2, 3] = max(part.half[0] + abs(part.center[0]) for part in what.solids)
        reach = np.array(TABLE_HALF) - radius - 0.02
        place[:2, 3] = rng.uniform(-reach, reach) if near is None else near + rng.uniform(-0.12, 0.12, 2)
        place[:3, :3] = turn.as_matrix()
        if (np.abs(_middle(what, place)) > np.array(TABLE_HALF) - 0.05).any():
            continue
        if apart is not None and np.linalg.norm(place[:2, 3] - apart) < 0.2:
            continue
        found = replace(what, world_from_thing=place)
        if _fits(found, {each.id: each for each in others}, set()):
            return found
    return None


def _middle(what: Thing, place: np.ndarray) -> np.ndarray:
    return (place @ [0.0, 0.0, extent(what)[1] / 2, 1.0])[:2]


def _fits(what: Thing, others: dict[int, Thing], but: set[int]) -> bool:
    """Whether it touches none of the others: shadows as discs."""
    for each in others.values():
        if each.id == what.id or each.id in but:
            continue
        apart = np.linalg.norm(_middle(what, what.world_from_thing) - _middle(each, each.world_from_thing))
        if apart < _shadow(what) + _shadow(each) + _GAP:
            return False
    return True


def _shadow(what: Thing) -> float:
    radius, height = extent(what)
    upright = what.world_from_thing[2, 2] > 0.7
    return radius if upright else max(radius, height / 2)
