"""A map of a few things whose association does anything at any time, to edit it by hand meanwhile."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch

from cgc_ros.gaussians.model import GaussianSeeds
from cgc_ros.gaussians.storage import SavedState
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.object_editing import EditError, EditOutcome, EditRequest, edit_objects
from cgc_ros.segmentation.object_edits import ObjectEdits
from cgc_ros.segmentation.object_state import ObjectRecord, ObjectState
from cgc_ros.segmentation.parts import PartRecord, PartState

THINGS, GAUSSIANS = 6, 40  # of each
FOREIGN = 30_000  # ids that twins draw
MAPPER = Mapper(MapperConfig(backend="cpu", sh_degree=0))  # emptied for each world: making one takes time
MIN_GAUSSIANS = MAPPER.config.segmentation.min_gaussians


def record(object_id: int) -> ObjectRecord:
    return ObjectRecord(object_id, False, 0.5 + object_id % 7 / 20, 3 + object_id % 5, object_id, 100 + object_id)


@dataclass
class EditWorld:
    """`raw` [N] is what association finds for each Gaussian, any numbers; `home` [N] the thing it is of."""

    seed: int
    mapper: Mapper = MAPPER
    raw: np.ndarray = field(default_factory=lambda: np.repeat(np.arange(1, THINGS + 1), GAUSSIANS))
    twins: list[tuple[str, ObjectEdits, ObjectState]] = field(default_factory=list)  # of each edit: as if never made

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.mapper.reset()
        self.home = self.raw.copy()
        self.add_gaussians(self._places(self.home))
        self.layer.registry.next_id = THINGS + 1
        self.mapper.scene_depth = 1.0
        self.publish()
        self.cut_into_parts()

    @property
    def layer(self):
        return self.mapper.segmenter.layer

    @property
    def uids(self) -> np.ndarray:
        return self.mapper.model.uids.numpy().copy()

    @property
    def means(self) -> np.ndarray:
        return self.mapper.model.means.detach().numpy().astype(float)

    @property
    def published(self) -> np.ndarray:
        """[N] ids as users see them."""
        return self.layer.state.ids_of(self.uids)

    def _places(self, homes: np.ndarray) -> np.ndarray:
        return np.stack([3.0 * homes, np.zeros(len(homes)), np.zeros(len(homes))], 1) + self.rng.random((len(homes), 3))

    def add_gaussians(self, means: np.ndarray) -> None:
        count = len(means)
        seeds = GaussianSeeds(
            torch.from_numpy(means),
            torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
            torch.full((count, 3), 0.01),
            torch.full((count,), 0.9),
            torch.full((count, 3), 0.5),
        )
        self.mapper.model.append(seeds, 0, torch.Generator().manual_seed(0))

    def cut_into_parts(self) -> None:
        """Every thing has two parts, of which one is larger; the seventh Gaussian of each is of none."""
        uids, means = self.uids, self.means
        high = means[:, 0] - 3.0 * self.home > 0.6
        ids = (2 * self.home - high).astype(np.int32)
        ids[::7] = -1
        records = {
            int(each): PartRecord(int(each), int(each + 1) // 2, 0.9, 3, 0, 1) for each in np.unique(ids[ids > 0])
        }
        self.mapper.parts.layer.adopt(PartState(uids, ids, records), next_id=1000)

    # What association does

    def publish(self) -> None:
        """An update found `raw`."""
        ids = self.raw.astype(np.int32)
        records = {int(each): record(int(each)) for each in np.unique(ids[ids >= 0])}
        count = len(ids)
        found = ObjectState(self.uids, ids, np.ones(count, np.float32), records, np.zeros(count, bool))
        before = self.layer.found
        self.layer.publish(found, self.means)
        self.twins = [(kind, twin, twin.follow(found, before, self.means)) for kind, twin, _ in self.twins]

    def regroup(self) -> None:
        """One update that joins, cuts, drops, renumbers, loses or adds something."""
        known = np.unique(self.raw[self.raw >= 0])
        kind = self.rng.choice(["jitter", "join", "cut", "renumber", "drop", "recover", "die", "grow", "appear"])
        one = int(self.rng.choice(known)) if len(known) else -1
        mine = self.raw == one
        if kind == "jitter":
            moved = self.rng.random(len(self.raw)) < 0.1
            self.raw[moved] = self.rng.choice([*known, -1], int(moved.sum()))
        elif kind == "join" and len(known) > 1:
            self.raw[mine] = self.rng.choice(known[known != one])
        elif kind == "cut":
            apart = mine & (self.means[:, int(self.rng.integers(3))] % 1 > self.rng.uniform(0.3, 0.7))
            self.raw[apart] = self.layer.draw_id()
        elif kind == "renumber":
            self.raw[mine] = self.layer.draw_id()
        elif kind == "drop":
            self.raw[mine] = -1
        elif kind == "recover":
            self.raw = self.home.copy()
        elif kind == "die":
            self._keep(self.rng.random(len(self.raw)) > 0.15)
        elif kind == "grow":
            homes = self.rng.choice(np.unique(self.home), 20)
            self.born(homes, np.where(self.rng.random(20) < 0.3, -1, homes))
        elif kind == "appear":
            new = self.layer.draw_id()
            homes = np.full(30, int(self.rng.choice(np.unique(self.home))) if self.rng.random() < 0.5 else new)
            self.born(homes, np.full(30, new), homes=np.full(30, new))
        self.publish()

    def _keep(self, kept: np.ndarray) -> None:
        self.mapper.model.keep(torch.from_numpy(kept))
        self.raw, self.home = self.raw[kept], self.home[kept]

    def born(self, places: np.ndarray, raw: np.ndarray, homes: np.ndarray | None = None) -> None:
        """New Gaussians at the `places` of things, of the things `homes`, None: of those."""
        self.add_gaussians(self._places(places))
        self.raw = np.concatenate([self.raw, raw])
        self.home = np.concatenate([self.home, places if homes is None else homes])

    # What users do

    def edit(self, kind: str, *ids: int, label: str = "") -> EditOutcome:
        """Make an edit; a twin goes on without it."""
        layer, depth = self.layer, len(self.layer.edits.log)
        twin = self._twin_of(layer.edits)
        state, names = layer.state, self.mapper.names.resolved()
        outcome = edit_objects(self.mapper, EditRequest(kind, ids, label))
        if kind == "undo":
            undone, twin, expected = self.twins.pop()
            if undone == "unpin":  # what was not pinned meanwhile may have gone from one to another
                assert layer.edits.pinned == twin.pinned
                for pinned in twin.pinned:
                    np.testing.assert_array_equal(layer.state.ids == pinned, expected.ids == pinned)
                self._make_twins()
            else:
                assert_alike(layer.state, expected)
        elif len(layer.edits.log) > depth:
            if self.rng.random() < 0.3:  # at once taken back: all is as it was, then made again
                edit_objects(self.mapper, EditRequest("undo"))
                assert_same(layer.state, state)
                assert self.mapper.names.resolved() == names
                outcome = edit_objects(self.mapper, EditRequest(kind, ids, label))
            self.twins.append((kind, twin, state))
        return outcome

    def _make_twins(self) -> None:
        edits = self.layer.edits
        twins = [self._twin_of(edits, depth) for depth in range(len(edits.log))]
        self.twins = [
            (edit.kind, twin, twin.laid_over(self.layer.found)) for edit, twin in zip(edits.log, twins, strict=True)
        ]

    def _twin_of(self, edits: ObjectEdits, depth: int | None = None) -> ObjectEdits:
        """One that has the first `depth` edits, None: all."""
        counter = iter(range(FOREIGN + 1000 * len(edits.log), 65_000))
        return ObjectEdits(lambda: next(counter), edits.min_gaussians, deepcopy(edits.log[:depth]), dict(edits.records))

    def any_edit(self) -> None:
        """An edit of objects drawn by chance, which may be refused."""
        known = [*self.layer.state.records, 999]
        kind = str(self.rng.choice(["rename", "delete", "merge", "split", "pin", "unpin", "undo", "undo"]))
        count = {"rename": 1, "split": 1, "undo": 0, "merge": 2 + int(self.rng.random() < 0.3)}.get(kind, 1)
        ids = [int(each) for each in self.rng.choice(known, min(count, len(known)), replace=False)]
        before = self.layer.state, len(self.layer.edits.log), self.mapper.names.resolved()
        pinned = self.layer.edits.pinned
        if kind == "unpin" and pinned and self.rng.random() < 0.7:
            ids = [int(self.rng.choice(sorted(pinned)))]
        try:
            self.edit(kind, *ids, label=str(self.rng.choice(["mug", "plate", ""])))
        except EditError as error:
            assert (self.layer.state, len(self.layer.edits.log), self.mapper.names.resolved()) == before
            assert kind == "undo" or any(str(each) in str(error) for each in ids)
        else:
            assert 999 not in ids and not (kind in ("delete", "merge", "split") and pinned & set(ids))

    def save_and_load(self) -> None:
        """As a map file keeps it."""
        mapper, layer, living = self.mapper, self.layer, self.uids
        own = SavedState({}, mapper.names.to_json())
        states = [own, mapper.model.saved(), layer.saved(living), mapper.parts.layer.saved(living)]
        arrays, info = SavedState.joined(states)
        state = SavedState({name: each.copy() for name, each in arrays.items()}, json.loads(json.dumps(info)))
        before = layer.state
        mapper.reset()
        mapper.model.restore(state)
        self.layer.restore(state, living)
        mapper.parts.layer.restore(state, living)
        mapper.names = type(mapper.names).from_json(state.info, mapper.config.names)
        mapper.scene_depth = 1.0
        assert_same(self.layer.state, before)


def assert_same(one: ObjectState, other: ObjectState) -> None:
    np.testing.assert_array_equal(one.uids, other.uids)
    np.testing.assert_array_equal(one.ids, other.ids)
    assert one.records == other.records


def assert_alike(one: ObjectState, other: ObjectState) -> None:
    """The same but for the numbers of what was drawn since."""
    pairs = np.unique(np.stack([one.ids, other.ids]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    to = dict(zip(*pairs.tolist(), strict=True))
    assert all(a == b or b >= FOREIGN for a, b in to.items())
    # What association has lost is as it was known last, by whatever edits there were then.
    flags = [{key: (record.background, record.pinned) for key, record in each.records.items()} for each in (one, other)]
    assert {to[key]: value for key, value in flags[0].items()} == flags[1]
