"""Keyframes: what is held, what leaves, and what is trained on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.corrections import KeyframeCorrections, se3_exp, se3_exp_gradient
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.rendering import Camera

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


def test_corrections_start_as_none_and_are_pulled_back():
    config = TrainingConfig(pose_rate=1e-3)
    corrections = KeyframeCorrections(config)
    assert (corrections.gain == 1).all() and not corrections.values().any()
    corrections.step(np.ones(3), np.ones(3))
    assert (corrections.log_gain < 0).all() and (corrections.offset < 0).all() and not corrections.twist.any()
    for _ in range(3000):
        corrections.step(np.zeros(3), np.zeros(3))
    assert np.abs(corrections.values()).max() < 2 * config.exposure_rate


def learnt_exposure(gain: float, steps: int = 600) -> np.ndarray:
    """Gain per channel that a keyframe learns whose image is `gain` times a render, but for what is not mapped yet."""
    generator = torch.Generator().manual_seed(0)
    color = torch.rand(24, 32, 3, generator=generator).numpy()
    target = gain * color + 0.03 * torch.randn(24, 32, 3, generator=generator).numpy()
    corrections = KeyframeCorrections(TrainingConfig())
    for _ in range(steps):
        of_exposed = np.sign(color * corrections.gain + corrections.offset - target) / color.size
        corrections.step((of_exposed * color).sum(axis=(0, 1)), of_exposed.sum(axis=(0, 1)))
    mean = color.mean(axis=(0, 1))
    return (mean * corrections.gain + corrections.offset) / mean


def test_a_camera_that_changed_its_exposure_is_followed():
    np.testing.assert_allclose(learnt_exposure(1.2), 1.2, atol=0.03)
    np.testing.assert_allclose(learnt_exposure(0.7), 0.7, atol=0.03)


def test_what_little_a_map_that_is_not_done_yet_is_off_by_is_no_exposure():
    np.testing.assert_allclose(learnt_exposure(1.003), 1.0, atol=0.002)


def test_a_correction_is_moved_by_torchs_own_adam():
    config = TrainingConfig(exposure_rate=0.02, exposure_cost=0.0, correction_pull=0.0)
    corrections, rng = KeyframeCorrections(config), np.random.default_rng(3)
    truth = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    reference = torch.optim.Adam([truth], lr=0.02, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(5):
        of_gain, of_offset = rng.normal(size=(2, 3))
        truth.grad = torch.from_numpy(np.concatenate([of_gain * corrections.gain, of_offset]))
        corrections.step(of_gain, of_offset)
        reference.step()
    np.testing.assert_allclose(corrections.values()[:6], truth.detach(), rtol=1e-6)


def test_se3_exp_is_a_rigid_turn():
    quarter = se3_exp(np.array([0.0, 0.0, np.pi / 2, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(quarter, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.sampled_from([1.0, 1e-3, 1e-5, 0.0]), st.integers(0, 99))
def test_se3_exp_and_its_gradient_are_those_of_the_matrix_exponential(numbers, size, seed):
    twist, weights = size * np.array(numbers), np.random.default_rng(seed).normal(size=(4, 4))
    leaf = torch.from_numpy(twist).requires_grad_()
    x, y, z = leaf[:3]
    zero = torch.zeros_like(x)
    turn = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3))
    transform = torch.cat([torch.cat([turn, leaf[3:, None]], dim=1), torch.eye(4, dtype=leaf.dtype)[3:]])
    (transform * torch.from_numpy(weights)).sum().backward()
    np.testing.assert_allclose(se3_exp(twist), transform.detach(), atol=1e-9)
    np.testing.assert_allclose(se3_exp_gradient(twist, weights), leaf.grad, atol=1e-7)


def test_a_pose_is_corrected_towards_where_its_gradient_points():
    """The distance of points seen from the corrected camera to where they should be falls, for a given pose far off."""
    corrections = KeyframeCorrections(TrainingConfig(pose_rate=2e-3, correction_pull=0.0))
    points = np.c_[np.random.default_rng(1).normal(size=(50, 3)), np.ones(50)]
    given_pose = se3_exp(np.array([0.4, -1.0, 0.2, 0.5, 0.1, 3.0]))
    wanted = points @ (se3_exp(np.array([0.03, -0.05, 0.02, 0.1, -0.05, 0.08])) @ given_pose).T
    camera = Camera(8, 6, 8.0, 8.0, 4.0, 3.0, torch.from_numpy(given_pose).float())
    errors = []
    for _ in range(200):
        pose = corrections.place(camera, 2.0).camera_from_world.detach().double().numpy()
        off = points @ pose.T - wanted
        errors.append(np.abs(off).mean())
        corrections.step(np.zeros(3), np.zeros(3), (2 * off.T @ points) / len(points), given_pose, 2.0)
    assert errors[-1] < 0.05 * errors[0]
