"""Large keyframes are looked at smaller where Gaussians are seeded, in the same place of the world."""

import numpy as np
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.mapping.config import KeyframeConfig, SeedingConfig, TrainingConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.seed_view import SeedView
from cgc_ros.mapping.seeding import seed_density, seed_gaussians

INTRINSICS = Intrinsics(640, 480, 500.0, 510.0, 319.5, 239.5)


def keyframe(ignore: np.ndarray | None = None) -> Keyframe:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 320:] = 200
    frame = Frame(0, image, np.eye(4), INTRINSICS, None, ignore=ignore)
    return KeyframeStore(KeyframeConfig(), TrainingConfig()).add(frame, 2.0)


def test_a_small_keyframe_is_seen_as_it_is():
    whole = keyframe()
    view = SeedView.of(whole, 640 * 480)
    assert view.image is whole.image and view.intrinsics == whole.intrinsics and view.ignore is None
    depth = np.ones((480, 640), np.float32)
    assert view.sampled(depth) is depth


def test_a_large_one_shows_the_same_at_fewer_pixels():
    ignore = np.zeros((480, 640), bool)
    ignore[100, 50] = True
    view = SeedView.of(keyframe(ignore), 160 * 120)
    assert view.image.shape == (120, 160, 3) and (view.image[:, 80:] == 200).all() and (view.image[:, :80] == 0).all()
    assert view.ignore is not None and np.argwhere(view.ignore).tolist() == [[25, 12]]
    camera = view.camera(torch.device("cpu"))
    assert (camera.width, camera.height) == (160, 120) and abs(camera.fx - 125.0) < 1e-6
    values = np.arange(480 * 640, dtype=np.float32).reshape(480, 640)
    rows, columns = np.divmod(view.sampled(values), 640)
    assert (np.abs(rows - (np.arange(120)[:, None] * 4 + 1.5)) <= 2).all()
    assert (np.abs(columns - (np.arange(160) * 4 + 1.5)) <= 2).all()
    assert view.sampled(values > 5).dtype == bool


def test_gaussians_seeded_in_a_smaller_view_lie_on_the_same_surface():
    sequence = SyntheticSequence(num_frames=2, width=320, height=240)
    frame = sequence[0]
    whole = KeyframeStore(KeyframeConfig(), TrainingConfig()).add(frame, 2.0)
    view, config = SeedView.of(whole, 160 * 120), SeedingConfig()
    depth = view.sampled(frame.depth)
    wanted = seed_density(view.image, depth > 0, None, config)
    pose = frame.world_from_camera
    seeds = seed_gaussians(view.image, depth, view.intrinsics, pose, wanted, config, np.random.default_rng(0))
    points = (seeds.means.numpy() - pose[:3, 3]) @ pose[:3, :3]
    k = frame.intrinsics
    columns = np.round(k.fx * points[:, 0] / points[:, 2] + k.cx).astype(int).clip(0, 319)
    rows = np.round(k.fy * points[:, 1] / points[:, 2] + k.cy).astype(int).clip(0, 239)
    errors = np.abs(points[:, 2] / frame.depth[rows, columns] - 1)
    assert len(seeds) > 100 and np.median(errors) < 0.005
