"""Association of masks that are cut, merged, missing and renumbered at random in every view."""

import numpy as np
import pytest

from cgc_ros.segmentation.association import AssociationConfig, MaskTable, associate
from cgc_ros.segmentation.labelling import IdRegistry, label_gaussians
from cgc_ros.segmentation.object_layer import ObjectLayer
from cgc_ros.segmentation.votes import MaskVotes

OBJECTS, PER_OBJECT = 8, 60


def corrupted_view(view: int, truth: np.ndarray, rng: np.random.Generator, drop=0.2, cut=0.2, merge=0.1) -> MaskVotes:
    """Masks of Gaussians on a line: objects dropped, cut in two, merged with the next one, 5% of members wrong,
    ids shuffled.
    """
    uids = np.flatnonzero(rng.random(len(truth)) < 0.8)  # the rest is hidden in this view
    masks = truth[uids] + 1
    number = OBJECTS + 1
    for obj in range(OBJECTS):
        mine = np.flatnonzero(truth[uids] == obj)
        fate = rng.random()
        if fate < drop:
            masks[mine] = 0
        elif fate < drop + cut:
            masks[mine[: rng.integers(len(mine) // 4, 3 * len(mine) // 4)]] = number
            number += 1
        elif fate < drop + cut + merge and obj + 1 < OBJECTS:
            masks[mine] = obj + 2
    wrong = rng.random(len(masks)) < 0.05
    masks[wrong] = rng.permutation(masks)[wrong]
    ids = np.unique(masks[masks > 0])
    numbers = np.zeros(masks.max() + 1, dtype=np.int64)
    numbers[ids] = rng.permutation(len(ids)) + 1
    count = len(ids)
    return MaskVotes(
        view,
        view * 10**9,
        uids.astype(np.int64),
        numbers[masks].astype(np.int32),
        np.ones(len(uids), np.float32),
        count,
        np.zeros(count + 1, dtype=bool),
        np.full(count + 1, 0.05, np.float32),
    )


def update(layer: ObjectLayer, uids: np.ndarray):
    """An update of Gaussians on a line, one unit apart."""
    means = np.stack([uids, np.zeros(len(uids)), np.zeros(len(uids))], axis=1).astype(np.float64)
    return layer.update(uids, means, scene_depth=10.0 * PER_OBJECT)


@pytest.fixture
def truth():
    return np.repeat(np.arange(OBJECTS), PER_OBJECT)


def test_objects_are_recovered_from_corrupted_views(truth):
    """Of 80 objects in ten scenes at most two are lost: in 15 views chance may merge the same two objects again
    and again.
    """
    recovered = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        table = MaskTable.of([corrupted_view(k, truth, rng) for k in range(15)])
        uids = np.arange(len(truth))
        labels = label_gaussians(table, associate(table, uids, AssociationConfig()), uids).clusters
        for obj in range(OBJECTS):
            cluster = np.bincount(labels[(truth == obj) & (labels >= 0)]).argmax()
            both, either = ((truth == obj) & (labels == cluster)).sum(), ((truth == obj) | (labels == cluster)).sum()
            recovered += both / either >= 0.9
    assert recovered >= 76


def test_association_does_not_depend_on_the_order_of_views(truth):
    rng = np.random.default_rng(7)
    views = [corrupted_view(k, truth, rng) for k in range(10)]
    uids = np.arange(len(truth))

    def partition(order):
        table = MaskTable.of([views[k] for k in order])
        labels = label_gaussians(table, associate(table, uids, AssociationConfig()), uids).clusters
        return labels[:, None] == labels[None]

    # Only single Gaussians with a tie between two objects may fall either way.
    assert (partition(range(10)) == partition(range(9, -1, -1))).mean() > 0.995


def test_views_without_any_mask_and_unknown_gaussians_are_harmless(truth):
    rng = np.random.default_rng(3)
    empty = MaskVotes(
        99, 0, np.arange(5), np.zeros(5, np.int32), np.ones(5, np.float32), 0, np.zeros(1, bool), np.ones(1, np.float32)
    )
    views = [empty] + [corrupted_view(k, truth, rng) for k in range(8)] + [empty]
    table = MaskTable.of(views)
    uids = np.arange(30, len(truth))  # the first 30 Gaussians are gone by now
    clusters = associate(table, uids, AssociationConfig())
    assert len(clusters) == sum(view.num_masks for view in views)
    assert (label_gaussians(table, clusters, uids).clusters >= 0).mean() > 0.9
    assert len(associate(MaskTable.of([empty]), uids, AssociationConfig())) == 0


def test_what_most_views_leave_without_a_mask_stays_unlabelled():
    """Gaussians 0..9 are an object; 10..14 lie behind its edge and are masked with it in one view of four."""
    uids = np.arange(15)
    views = []
    for k in range(4):
        masks = np.where(uids < 10, 1, 1 if k == 0 else 0).astype(np.int32)
        views.append(
            MaskVotes(k, 0, uids, masks, np.ones(15, np.float32), 1, np.zeros(2, bool), np.full(2, 0.1, np.float32))
        )
    table = MaskTable.of(views)
    clusters = label_gaussians(table, associate(table, uids, AssociationConfig()), uids).clusters
    assert (clusters[:10] == 0).all() and (clusters[10:] == -1).all()


def test_ids_last_over_updates_merges_and_splits():
    uids = np.arange(100)
    registry = IdRegistry()
    two = np.where(uids < 60, 0, 1)
    big, small = registry.assign(two, uids)
    assert registry.assign(1 - two, uids).tolist() == [small, big]  # clusters renumbered, ids unchanged
    merged = registry.assign(np.zeros(100, dtype=int), uids)
    assert merged.tolist() == [big]  # the larger part keeps its id
    assert registry.assign(two, uids).tolist() == [big, small]  # the smaller one returns under its own
    split = registry.assign(np.where(uids < 20, 2, two), uids)
    assert split.tolist()[:2] == [big, small] and split[2] not in (big, small)


def test_a_forgotten_object_does_not_lend_its_id_to_a_stranger():
    registry = IdRegistry(memory=1)
    uids = np.arange(20)
    first = registry.assign(np.where(uids < 10, 0, 1), uids)
    for _ in range(3):
        registry.assign(np.where(uids < 10, 0, -1), uids)
    assert registry.assign(np.where(uids < 10, 0, 1), uids)[1] not in first


def test_layer_gives_an_id_to_every_object_and_forgets_dropped_keyframes(truth):
    rng = np.random.default_rng(5)
    layer = ObjectLayer()
    for k in range(10):
        layer.set_votes(corrupted_view(k, truth, rng))
        state = update(layer, np.arange(len(truth)))
    assert len(state.records) == OBJECTS
    before = state.ids_of(np.arange(len(truth)))
    layer.drop_keyframe(0)
    after = update(layer, np.arange(len(truth))).ids_of(np.arange(len(truth)))
    assert (before == after).mean() > 0.98
    assert state.ids_of(np.array([10**6])).tolist() == [-1]


def test_objects_outlive_the_keyframes_that_showed_them(truth):
    """When every keyframe has left, labels, ids and view counts stay; newer keyframes go on from there."""
    rng = np.random.default_rng(11)
    uids = np.arange(len(truth))
    layer = ObjectLayer()
    for k in range(12):
        layer.set_votes(corrupted_view(k, truth, rng))
    before = update(layer, uids)
    for k in range(12):
        layer.drop_keyframe(k)
    after = update(layer, uids)
    assert (after.ids == before.ids).mean() > 0.97
    assert {i: r.num_views for i, r in after.records.items()} == {i: r.num_views for i, r in before.records.items()}
    for k in range(12, 18):
        layer.set_votes(corrupted_view(k, truth, rng))
    assert (update(layer, uids).ids == before.ids).mean() > 0.95


def test_young_gaussians_take_the_object_of_their_neighbour(truth):
    rng = np.random.default_rng(13)
    layer = ObjectLayer()
    for k in range(8):
        layer.set_votes(corrupted_view(k, truth, rng))
    uids = np.arange(2 * len(truth))  # the second half was born after every vote
    means = np.stack(
        [np.concatenate([truth, truth + 0.1]) * 10.0, np.arange(len(uids)) * 0.0, np.zeros(len(uids))], axis=1
    )
    ids = layer.update(uids, means, scene_depth=100.0).ids
    old, young = ids[: len(truth)], ids[len(truth) :]
    assert (old >= 0).mean() > 0.8
    assert (old == young).mean() > 0.95


def test_memory_forgets_gaussians_that_are_gone(truth):
    rng = np.random.default_rng(12)
    layer = ObjectLayer()
    for k in range(6):
        layer.set_votes(corrupted_view(k, truth, rng))
    update(layer, np.arange(len(truth)))
    for k in range(6):
        layer.drop_keyframe(k)
    update(layer, np.arange(100))
    assert len(layer.memory.uids) <= 100


def test_what_the_masks_leave_open_stays_as_it_was(truth):
    """Half of the views show two objects as one, half as two: whichever an update chose, later ones keep it."""

    def view(k: int, joined: bool) -> MaskVotes:
        masks = np.where(truth < 2, 1 if joined else truth + 1, 0)
        uids = np.flatnonzero(masks)
        border, share = np.zeros(3, dtype=bool), np.full(3, 0.05, np.float32)
        weights = np.ones(len(uids), np.float32)
        return MaskVotes(k, k, uids, masks[uids].astype(np.int32), weights, int(masks.max()), border, share)

    def changes(first: bool) -> int:
        layer, result = ObjectLayer(), []
        for k in range(40):
            layer.set_votes(view(k, first if k < 6 else k % 2 == 0))
            result.append(len(update(layer, np.arange(len(truth))).records))
        return int(np.count_nonzero(np.diff(result[6:])))

    assert changes(first=False) <= 1
    assert changes(first=True) <= 1


def test_what_few_of_the_views_that_see_it_show_is_no_object(truth):
    layer = ObjectLayer()
    for k in range(30):
        masks = np.where((truth == 0) | ((truth == 1) & (k < 3)), truth + 1, 0).astype(np.int32)
        share = np.full(3, 0.05, np.float32)
        weights = np.ones(len(truth), np.float32)
        layer.set_votes(MaskVotes(k, k, np.arange(len(truth)), masks, weights, 2, np.zeros(3, bool), share))
    state = update(layer, np.arange(len(truth)))
    assert len(state.records) == 1
    assert (state.ids[truth == 1] == -1).all()
