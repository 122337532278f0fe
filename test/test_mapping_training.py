"""The training step of the CPU kernels against the same step in torch operators."""

import numpy as np
import pytest
import torch
from rendering_scenes import random_scene

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, EPSILON
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.training import PhotometricTrainer
from cgc_ros.rendering.kernels import kernels

RATES = {"means": 1e-3, "quats": 2e-3, "log_scales": 3e-3, "logit_opacities": 4e-3, "sh": 5e-3}
WIDTH, HEIGHT, NAMES = 49, 37, ("means", "quats", "log_scales", "logit_opacities", "sh")


def model_of(count: int, degree: int) -> GaussianModel:
    scene = random_scene(count, WIDTH, HEIGHT)
    model = GaussianModel(degree)
    values = {
        "means": scene.means,
        "quats": scene.quats,
        "log_scales": scene.scales.log() + 0.01 * torch.randn(count, 3, generator=torch.Generator().manual_seed(2)),
        "logit_opacities": torch.logit(scene.opacities, eps=1e-4),
        "sh": scene.harmonics[:, : (degree + 1) ** 2].contiguous(),
        "features": torch.zeros(count, 16),
    }
    model.parameters = {name: value.clone() for name, value in values.items()}
    model.moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in values.items()}
    model.uids = torch.arange(count)
    model.background = torch.tensor([0.7, 0.1, 0.4])
    return model


def keyframe_of(config: TrainingConfig, depth: bool) -> Keyframe:
    rng = np.random.default_rng(1)
    size = (2 * HEIGHT, 2 * WIDTH)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    depths = rng.uniform(1.0, 6.0, size).astype(np.float32) * (rng.random(size) > 0.3) if depth else None
    intrinsics = Intrinsics(2 * WIDTH, 2 * HEIGHT, 90.0, 92.0, WIDTH + 1.5, HEIGHT - 2.5)
    store = KeyframeStore(KeyframeConfig(), config)
    keyframe = store.add(Frame(0, image, np.eye(4), intrinsics, depths), 3.0)
    with torch.no_grad():
        keyframe.corrections.log_gain.copy_(torch.tensor([0.1, -0.2, 0.05]))
        keyframe.corrections.offset.copy_(torch.tensor([0.02, 0.0, -0.03]))
    return keyframe


def moved(method: str, count: int, degree: int, config: TrainingConfig, depth: bool, scale: float = 0.5):
    """The model, the keyframe and what was found after one step by one of the trainer's two ways."""
    model, keyframe = model_of(count, degree), keyframe_of(config, depth)
    trainer = PhotometricTrainer(model, config, "cpu")
    camera = keyframe.corrections.place(keyframe.camera(scale, model.device), 2.0)
    return model, keyframe, getattr(trainer, method)(keyframe, camera, RATES)


def assert_close(ours: torch.Tensor, truth: torch.Tensor, what: str) -> None:
    assert (ours - truth).norm() <= 2e-5 * truth.norm() + 1e-12, what


@pytest.mark.parametrize(
    ("count", "degree", "depth", "scale"), [(300, 1, True, 0.5), (1, 0, True, 0.5), (1500, 3, False, 1.0)]
)
def test_the_fused_step_moves_everything_as_torch_operators_do(count, degree, depth, scale):
    config = TrainingConfig(
        pose_rate=1e-3, depth_weight=0.4, opacity_weight=0.1, coverage_weight=0.3, anisotropy_weight=0.3
    )
    before = model_of(count, degree)
    model, keyframe, (loss, mse) = moved("move_by_kernels", count, degree, config, depth, scale)
    truth, true_keyframe, (true_loss, true_mse) = moved("move_by_operators", count, degree, config, depth, scale)
    assert loss == pytest.approx(true_loss, rel=1e-5) and mse == pytest.approx(true_mse, rel=1e-5)
    for name in NAMES:  # the first moment holds a tenth of the gradient
        assert_close(model.moments[name][0], truth.moments[name][0], name)
        assert_close(model.moments[name][1], truth.moments[name][1], name)
        first, second = model.moments[name]
        step = RATES[name] * first / (second.sqrt() + EPSILON)
        if name == "means":
            step *= before.sizes[:, None]
        expected = before.parameters[name] - step
        torch.testing.assert_close(model.parameters[name], expected, rtol=1e-5, atol=1e-6)
    for name in ("log_gain", "offset", "twist"):
        ours, theirs = (getattr(k.corrections, name).grad for k in (keyframe, true_keyframe))
        assert_close(ours, theirs, name)


def test_gaussians_out_of_view_keep_still_while_the_rest_follows_adam():
    config = TrainingConfig()
    model, keyframe = model_of(200, 1), keyframe_of(config, depth=True)
    for first, second in model.moments.values():
        first.fill_(0.01), second.fill_(0.02)
    before = {name: value.clone() for name, value in model.parameters.items()}
    model.parameters["means"][:20, 2] = before["means"][:20, 2] = -5.0  # behind the camera
    trainer = PhotometricTrainer(model, config, "cpu")
    trainer.step(keyframe, 0.5, 1.0, 1.0)
    for name in NAMES:
        assert torch.equal(model.parameters[name][:20], before[name][:20])
        assert (model.moments[name][0][:20] == 0.01).all() and (model.moments[name][1][:20] == 0.02).all()
    moved_rows = (model.parameters["means"] != before["means"]).any(dim=1)
    assert moved_rows[20:].sum() > 50
    kept = BETA1 * 0.01 / (np.sqrt(BETA2 * 0.02) + EPSILON)  # what momentum alone would do, in rates
    rates = trainer.rates(1.0)["means"] * model.sizes[moved_rows, None]
    moved_by = (model.parameters["means"] - before["means"])[moved_rows].abs()
    assert (moved_by / rates).mean() == pytest.approx(kept, rel=0.5)


@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_the_step_is_the_same_for_any_number_of_threads(instruction_set):
    best, threads = kernels.instruction_set(), torch.get_num_threads()
    kernels.use_instruction_set(instruction_set)
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(moved("move_by_kernels", 2500, 1, TrainingConfig(), True))
    finally:
        torch.set_num_threads(threads)
        kernels.use_instruction_set(best)
    (one, _, outcome), (three, _, other_outcome) = found
    assert outcome == other_outcome
    assert all(torch.equal(one.parameters[name], three.parameters[name]) for name in NAMES)


def test_without_gaussians_there_is_nothing_to_move():
    model, _, (loss, _) = moved("move_by_kernels", 0, 1, TrainingConfig(), True)
    assert len(model) == 0 and 0.0 < loss < 2.0


def test_scaled_images_are_kept_until_depth_comes():
    keyframe = keyframe_of(TrainingConfig(), depth=False)
    color, depth = keyframe.scaled_images(WIDTH, HEIGHT)
    assert color.shape == (HEIGHT, WIDTH, 3) and depth is None
    assert keyframe.scaled_images(WIDTH, HEIGHT)[0] is color
    keyframe.depth = np.full(keyframe.image.shape[:2], 2.5, dtype=np.float16)
    _, depth = keyframe.scaled_images(WIDTH, HEIGHT)
    assert depth.shape == (HEIGHT, WIDTH) and depth.dtype == np.float16 and (depth == 2.5).all()
    full, _ = keyframe.scaled_images(2 * WIDTH, 2 * HEIGHT)
    assert np.array_equal(full, keyframe.image)
