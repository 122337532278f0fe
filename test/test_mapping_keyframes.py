"""Keyframes: what is held, what leaves, and what is trained on."""

import numpy as np
import pytest
import torch

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.corrections import KeyframeCorrections, se3_exp
from cgc_ros.mapping.keyframes import KeyframeStore

INTRINSICS = Intrinsics(8, 6, 10.0, 10.0, 3.5, 2.5)


def frame_at(x: float, yaw_deg: float = 0.0) -> Frame:
    pose = np.eye(4)
    angle = np.deg2rad(yaw_deg)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[0, 3] = x
    return Frame(int(x * 1e9), np.zeros((6, 8, 3), np.uint8), pose, INTRINSICS, name=f"{x}")


def store_with(positions, **config) -> KeyframeStore:
    store = KeyframeStore(KeyframeConfig(**config), TrainingConfig())
    for x in positions:
        store.add(frame_at(x), median_depth=1.0)
    return store


@pytest.mark.parametrize(
    ("x", "yaw", "depth", "expected"),
    [
        (0.0, 0.0, 1.0, False),
        (0.09, 0.0, 1.0, False),
        (0.11, 0.0, 1.0, True),  # a tenth of the depth
        (0.11, 0.0, 2.0, False),  # the same motion in a scene twice as far shows half the parallax
        (0.0, 4.9, 1.0, False),
        (0.0, 5.1, 1.0, True),
        (0.001, 0.0, 0.0, True),  # depth unknown: any motion may help
    ],
)
def test_a_view_is_new_by_parallax_or_rotation(x, yaw, depth, expected):
    store = store_with([0.0], min_translation=0.1, min_rotation_deg=5.0)
    assert (store.novelty(frame_at(x, yaw), depth) >= 1.0) is expected


def test_the_keyframe_whose_neighbours_are_nearest_leaves_first():
    store = store_with([0.0, 1.0, 1.1, 1.2, 5.0, 9.0, 13.0, 17.0], max_keyframes=8)
    assert store.evict_redundant().name == "1.1"


def test_the_newest_quarter_always_stays():
    store = store_with([0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 24.01], max_keyframes=8)
    assert store.evict_redundant().name not in ("24.0", "24.01")


def test_nothing_leaves_while_there_is_room():
    assert store_with([0.0, 1.0], max_keyframes=3).evict_redundant() is None


def test_sampling_prefers_new_keyframes_and_those_trained_least():
    store = store_with(np.arange(10.0))
    for keyframe in store:
        keyframe.steps, keyframe.loss = 50, 0.1
    store.keyframes[2].steps = 0
    rng = np.random.default_rng(0)
    drawn = np.bincount([store.sample(rng, newest_share=0.2, newest_count=3).id for _ in range(4000)], minlength=10)
    assert drawn[2] == max(drawn)
    history = np.delete(drawn[:7], 2)
    assert min(drawn[7:]) > max(history) and min(history) > 0


def test_targets_are_scaled_by_area_and_depth_keeps_its_values():
    store = store_with([])
    image = np.zeros((6, 8, 3), np.uint8)
    image[:, ::2] = 200  # columns alternate: halving averages them
    depth = np.full((6, 8), 2.5, np.float32)
    depth[0] = 0
    pose = np.eye(4)
    keyframe = store.add(Frame(0, image, pose, INTRINSICS, depth=depth), median_depth=2.5)
    camera = keyframe.camera(0.5, torch.device("cpu"))
    color, scaled, _ = keyframe.scaled_images(camera.width, camera.height)
    assert (camera.width, camera.height) == (4, 3)
    assert abs(color.astype(int) - 100).max() <= 1 and color.shape == (3, 4, 3)
    assert set(np.unique(scaled).tolist()) <= {0.0, 2.5}


def exposed(corrections: KeyframeCorrections, color: torch.Tensor) -> torch.Tensor:
    """A render's colour [..., 3] as the keyframe's camera would have taken it."""
    return color * corrections.log_gain.exp() + corrections.offset


def test_corrections_start_as_none_and_are_pulled_back():
    corrections = KeyframeCorrections(TrainingConfig(pose_rate=1e-3))
    color = torch.rand(4, 5, 3)
    torch.testing.assert_close(exposed(corrections, color), color)
    exposed(corrections, color).sum().backward()
    corrections.step()
    moved = corrections.offset.detach().clone()
    assert (moved < 0).all()
    for _ in range(3000):
        corrections.step()  # without a gradient only the pull is left
    assert corrections.offset.abs().max() < 0.1 * moved.abs().max()


def learnt_exposure(gain: float, steps: int = 600) -> torch.Tensor:
    """Gain per channel that a keyframe learns whose image is `gain` times a render, but for what is not mapped yet."""
    generator = torch.Generator().manual_seed(0)
    color = torch.rand(24, 32, 3, generator=generator)
    target = gain * color + 0.03 * torch.randn(24, 32, 3, generator=generator)
    corrections = KeyframeCorrections(TrainingConfig())
    for _ in range(steps):
        (exposed(corrections, color) - target).abs().mean().backward()
        corrections.step()
    return exposed(corrections, color.mean(dim=(0, 1))).detach() / color.mean(dim=(0, 1))


def test_a_camera_that_changed_its_exposure_is_followed():
    torch.testing.assert_close(learnt_exposure(1.2), torch.full((3,), 1.2), atol=0.03, rtol=0)
    torch.testing.assert_close(learnt_exposure(0.7), torch.full((3,), 0.7), atol=0.03, rtol=0)


def test_what_little_a_map_that_is_not_done_yet_is_off_by_is_no_exposure():
    torch.testing.assert_close(learnt_exposure(1.003), torch.ones(3), atol=0.002, rtol=0)


def test_se3_exp_is_a_rigid_turn():
    quarter = se3_exp(torch.tensor([0.0, 0.0, np.pi / 2, 1.0, 2.0, 3.0], dtype=torch.float64))
    expected = torch.tensor([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(quarter, expected, atol=1e-12, rtol=0)
