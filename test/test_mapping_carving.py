"""Gaussians that hang in the free space before a measured surface fade; all others stay as they are."""

import numpy as np
import torch

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping.config import DensityConfig, KeyframeConfig, SeedingConfig, TrainingConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.depth_source import SeedDepth
from cgc_ros.mapping.growth import MapGrowth
from cgc_ros.mapping.keyframes import KeyframeStore

WIDTH, HEIGHT = 64, 48


def carved(
    means: list[tuple[float, float, float]], depth: np.ndarray, guessed: np.ndarray, confidence: float = 1.0
) -> np.ndarray:
    """Which of some Gaussians fade, seen from a camera at (0, 0, 1) that looks along z, depth being from there."""
    count = len(means)
    model = GaussianModel()
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1)
    scales, opacities = torch.full((count, 3), 0.01), torch.full((count,), 0.7)
    model.append(GaussianSeeds(torch.tensor(means), quats, scales, opacities, torch.full((count, 3), 0.5)), 0)
    pose = np.eye(4)
    pose[2, 3] = 1.0
    intrinsics = Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5)
    frame = Frame(0, np.zeros((HEIGHT, WIDTH, 3), np.uint8), pose, intrinsics, depth)
    keyframes = KeyframeStore(KeyframeConfig(), TrainingConfig())
    keyframe = keyframes.add(frame, 2.0)
    contribution = MapContribution(model, keyframes, DensityConfig(), "cpu")
    growth = MapGrowth(model, SeedingConfig(), DensityConfig(), contribution, "cpu", 0)
    number = growth.carve(SeedDepth(keyframe, depth, guessed, np.full_like(depth, confidence)))
    faded = (model.opacities < 0.5).numpy()
    assert number == faded.sum()
    return faded


def test_only_what_stands_clearly_before_the_surface_fades():
    depth, guessed = np.full((HEIGHT, WIDTH), 2.0, np.float32), np.zeros((HEIGHT, WIDTH), bool)
    places = {
        (0.0, 0.0, 2.0): True,  # half way
        (0.0, 0.0, 2.9): False,  # nearly on it
        (0.0, 0.0, 3.5): False,  # behind it
        (0.0, 0.0, -1.0): False,  # behind the camera
        (5.0, 0.0, 2.0): False,  # beside the view
    }
    np.testing.assert_array_equal(carved(list(places), depth, guessed), list(places.values()))


def test_what_stands_beside_a_nearer_or_an_unknown_surface_is_left_alone():
    depth, guessed = np.full((HEIGHT, WIDTH), 2.0, np.float32), np.zeros((HEIGHT, WIDTH), bool)
    depth[:, 34:] = 1.0  # an object whose border is two pixels from the centre
    assert not carved([(0.0, 0.0, 2.0)], depth, guessed).any()
    depth[:, 34:], guessed[:, 34:] = 2.0, True
    assert not carved([(0.0, 0.0, 2.0)], depth, guessed).any()


def test_depth_that_is_not_sure_fades_nothing():
    depth, guessed = np.full((HEIGHT, WIDTH), 2.0, np.float32), np.zeros((HEIGHT, WIDTH), bool)
    sure = SeedingConfig().carve_confidence
    assert carved([(0.0, 0.0, 2.0)], depth, guessed, sure + 0.01).all()
    assert not carved([(0.0, 0.0, 2.0)], depth, guessed, sure - 0.01).any()


def test_an_empty_map_has_nothing_to_fade():
    assert carved([], np.full((HEIGHT, WIDTH), 2.0, np.float32), np.zeros((HEIGHT, WIDTH), bool)).size == 0
