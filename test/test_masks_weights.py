"""Scoring single images' masks, and fitting the graph source's weights: on images small enough to work out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from mask_weights.fit import fit, prepare  # noqa: E402
from mask_weights.images import TrueImage, best_ious, degraded  # noqa: E402

from cgc_ros.evaluation.synthetic import SyntheticSequence  # noqa: E402
from cgc_ros.masks.merging import EVIDENCE  # noqa: E402


def test_the_best_mask_of_each_object_counts_and_what_is_too_small_does_not():
    truth = np.zeros((40, 60), np.int32)
    truth[5:25, 5:25], truth[5:25, 35:55], truth[30:35, 5:10] = 4, 9, 7  # 400, 400 and 25 pixels
    labels = np.zeros_like(truth)
    labels[5:25, 5:20], labels[5:25, 20:25] = 1, 2  # three quarters and one quarter of object 4
    image = TrueImage("x", np.zeros((40, 60, 3), np.uint8), None, truth, frozenset({4, 7, 9, 100}))
    assert best_ious(labels, image) == pytest.approx({4: 0.75, 9: 0.0})


def test_degraded_depth_is_wavy_and_holed_yet_the_same_scene():
    depth = np.full((240, 320), 2.0, np.float32)
    depth[:, 160:] = 1.0
    worse = degraded(depth, np.random.default_rng(0))
    known = worse > 0
    assert 0.9 < known.mean() < 1.0
    error = np.abs(worse - depth)[known] / depth[known]
    assert 0.002 < np.median(error) < 0.02


def test_weights_fitted_on_a_scene_say_that_steps_part_objects():
    sequence = SyntheticSequence(num_frames=24, width=320, height=240)
    things = frozenset(key for key, (_, kind) in sequence.truth.labels.items() if kind == "object")
    images = [
        TrueImage("", sequence[index].image, sequence[index].depth, sequence.truth.instances(index), things)
        for index in (0, 12)
    ]
    weights = fit([[prepare(image) for image in images]], EVIDENCE, rounds=1)
    assert set(weights) == {"bias", *EVIDENCE}
    assert weights["step"] > 0 and weights["bend"] > 0 and weights["bias"] < 0
