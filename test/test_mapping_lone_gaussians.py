"""What one keyframe alone shows, far before what else it sees, is found once all keyframes were looked from."""

import numpy as np
import pytest
import torch

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping.config import DensityConfig, KeyframeConfig, SeedingConfig, TrainingConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.growth import MapGrowth
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.lone_gaussians import LoneGaussians

WALL = 3.0  # metres before the cameras, which look along z
CAMERAS = (0.0, 1.0, 2.0)  # x, metres; views are as wide as they are far
ALONE, SHARED, BESIDE = (-0.3, 0.0, 1.0), (0.5, 0.0, 1.2), (-1.2, 0.0, 2.9)


def seeds(means: list[tuple[float, float, float]], scale: float, opacity: float = 0.7) -> GaussianSeeds:
    count = len(means)
    return GaussianSeeds(
        torch.tensor(means, dtype=torch.float32),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        torch.full((count, 3), scale),
        torch.full((count,), opacity),
        torch.full((count, 3), 0.5),
    )


class Scene:
    """A wall, and before it a Gaussian that one camera alone sees, one that two see, and one beside the wall."""

    def __init__(self, depth: bool = False):
        self.model = GaussianModel()
        wall = [(x, y, WALL) for x in np.arange(-1.5, 3.6, 0.15) for y in np.arange(-1.2, 1.3, 0.15)]
        self.model.append(seeds([*wall, ALONE, SHARED, BESIDE], 0.1), 0)
        self.keyframes = KeyframeStore(KeyframeConfig(), TrainingConfig())
        for x in CAMERAS:
            self.add(x, np.full((48, 64), WALL, np.float32) if depth else None)
        self.lone = LoneGaussians(self.model, self.keyframes, DensityConfig(), "cpu")

    def add(self, x: float, depth: np.ndarray | None = None) -> Keyframe:
        pose = np.eye(4)
        pose[0, 3] = x
        image = np.zeros((48, 64, 3), np.uint8)
        return self.keyframes.add(Frame(0, image, pose, Intrinsics(64, 48, 64.0, 64.0, 31.5, 23.5), depth), WALL)

    def found(self) -> list[tuple[float, ...]]:
        """Where the Gaussians stand that a round finds."""
        for _ in range(len(self.keyframes) - 1):
            assert self.lone.look() is None
        mask = self.lone.look()
        assert mask is not None
        return [tuple(round(float(value), 3) for value in row) for row in self.model.means[mask]]


def test_what_one_camera_alone_sees_far_before_the_rest_is_found():
    scene = Scene()
    assert scene.found() == [ALONE] == scene.found()


def test_another_view_bears_it_out():
    scene = Scene()
    scene.add(-0.2)
    assert scene.found() == []


def test_a_view_that_waits_for_its_depth_bears_nothing_out():
    scene = Scene()
    scene.add(-0.2).ready = False
    scene.keyframes.keyframes.pop(2)  # as many look as before
    assert [scene.lone.look() is None for _ in range(2)] == [True, False]


def test_before_a_depth_camera_nothing_is_called_lone():
    assert Scene(depth=True).found() == []


def test_what_came_or_left_in_a_round_is_no_matter_of_it():
    scene = Scene()
    assert scene.lone.look() is None
    keep = torch.ones(len(scene.model), dtype=torch.bool)
    keep[:5] = False
    scene.model.keep(keep)
    scene.model.append(seeds([(-0.35, 0.1, 1.0)], 0.05), 0)
    assert scene.lone.look() is None
    mask = scene.lone.look()
    assert mask is not None and torch.equal(scene.model.means[mask], torch.tensor([ALONE]))
    assert len(scene.found()) == 2  # known from all of them by now


def test_fading_takes_off_the_logit_what_carving_does():
    scene = Scene()
    contribution = MapContribution(scene.model, scene.keyframes, DensityConfig(), "cpu")
    growth = MapGrowth(scene.model, SeedingConfig(carve_fading=2.0), DensityConfig(), contribution, "cpu", 0)
    mask = torch.zeros(len(scene.model), dtype=torch.bool)
    mask[3] = True
    growth.fade(mask)
    assert float(scene.model.opacities[3]) == pytest.approx(1 / (1 + np.exp(2.0 - np.log(0.7 / 0.3))), rel=1e-5)
    assert torch.allclose(scene.model.opacities[~mask], torch.tensor(0.7))
