"""Votes counted per Gaussian, and ids that last."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cgc_ros.segmentation.labelling import IdRegistry, _strongest, object_confidence


def test_the_strongest_cluster_is_the_dense_argmax():
    rng = np.random.default_rng(0)
    for rows, columns, entries in ((0, 3, 0), (5, 4, 0), (300, 7, 900)):
        at = (rng.integers(0, max(rows, 1), entries), rng.integers(0, columns, entries))
        weights = rng.integers(1, 4, entries).astype(np.float32)  # ties are common
        histogram = sparse.csr_matrix((weights, at), shape=(rows, columns))
        best, most = _strongest(histogram.copy())
        dense = histogram.toarray()
        assert np.array_equal(best, dense.argmax(axis=1)) and np.array_equal(most, dense.max(axis=1))


def test_what_few_views_agree_on_is_less_sure_than_what_many_do():
    shares = np.array([0.8, 1.0])
    few, many = object_confidence(shares, 2), object_confidence(shares, 40)
    assert np.isclose(few, 0.6) and few < many < 0.9
    assert object_confidence(np.ones(5), 40) < 1.0


def objects(*members):
    """Clusters of ten Gaussians that belong to these places, -1 where no place is named; and their uids."""
    uids = np.arange(100)
    clusters = np.full(100, -1)
    for cluster, place in enumerate(members):
        clusters[10 * place : 10 * place + 10] = cluster
    return clusters, uids


def test_ids_long_gone_are_given_again_the_one_gone_longest_first():
    registry = IdRegistry(max_id=3, memory=1)
    assert registry.assign(*objects(0, 1)).tolist() == [1, 2]
    for present in ((1,), (1,), (), ()):  # 1 is forgotten first, then 2
        registry.assign(*objects(*present))
    assert registry.assign(*objects(2)).tolist() == [3]  # never given so far
    assert registry.assign(*objects(2, 3)).tolist() == [3, 1] and registry.reused == {1}
    assert registry.assign(*objects(2, 3, 4)).tolist() == [3, 1, 2]
    assert registry.assign(*objects(2, 3, 4)).tolist() == [3, 1, 2] and registry.reused == set()


def test_an_id_in_use_remembered_or_reserved_is_not_given_again_and_new_objects_wait():
    registry = IdRegistry(max_id=3, memory=2)
    registry.assign(*objects(0, 1, 2))
    registry.assign(*objects(0, 1))  # 3 is remembered
    assert registry.assign(*objects(0, 1, 5)).tolist() == [1, 2, -1] and registry.waiting == 1
    assert "1 new objects wait" in registry.shortage("objects")
    registry.assign(*objects(0, 1, 5))  # and forgotten
    assert registry.assign(*objects(0, 1, 5), reserved={3}).tolist() == [1, 2, -1]
    assert registry.assign(*objects(0, 1, 5)).tolist() == [1, 2, 3] and registry.waiting == 0


def test_a_returning_object_gets_its_id_though_new_ones_wait():
    registry = IdRegistry(max_id=2, memory=5)
    registry.assign(*objects(0, 1))
    registry.assign(*objects(0))
    assert registry.assign(*objects(4, 1, 0)).tolist() == [-1, 2, 1]


def test_ids_that_run_out_are_told_of_from_nine_tenths_on():
    registry = IdRegistry(max_id=10)
    registry.assign(*objects(*range(8)))
    assert registry.shortage("objects") == ""
    registry.assign(*objects(*range(9)))
    assert registry.shortage("objects") == "9 of 10 ids of objects are in use"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.integers(0, 9), max_size=9), max_size=30), st.integers(1, 12))
def test_living_objects_keep_their_ids_and_no_two_share_one_however_few_there_are(updates, max_id):
    registry, ids = IdRegistry(max_id=max_id, memory=1), {}
    for present in map(sorted, updates):
        given_now = registry.assign(*objects(*present)).tolist()
        lasting = [each for each in given_now if each > 0]
        assert len(set(lasting)) == len(lasting) and all(1 <= each <= max_id for each in lasting)
        now = dict(zip(present, given_now, strict=True))
        assert all(now[place] == ids[place] for place in now if ids.get(place, -1) > 0)
        ids = now


def test_a_restored_registry_reuses_what_its_map_no_longer_has():
    registry = IdRegistry(next_id=4, max_id=3, members={2: np.arange(10)})
    assert registry.assign(*objects(0, 3, 4)).tolist() == [2, 1, 3]
