"""Votes counted per Gaussian."""

import numpy as np
from scipy import sparse

from cgc_ros.segmentation.labelling import _strongest, object_confidence


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
