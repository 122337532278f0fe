"""The training step, by the CPU kernels and by torch operators on every backend, against autograd of its losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dispatched_operators import DispatchedOperators
from gsplat_operators import gsplat_on_cpu  # noqa: F401
from rendering_scenes import random_scene

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.gaussians.model import GaussianModel
from cgc_ros.gaussians.optimizer import BETA1, BETA2, EPSILON
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.config import KeyframeConfig, TrainingConfig
from cgc_ros.mapping.keyframes import Keyframe, KeyframeStore
from cgc_ros.mapping.resident_images import ResidentImages, inverse_depth
from cgc_ros.mapping.training import PhotometricTrainer
from cgc_ros.rendering import (
    Camera,
    StepGradients,
    StepLosses,
    StepOutcome,
    photometric_loss,
    rasterize,
    step_gradients,
    train_in_place,
)
from cgc_ros.rendering.kernels import kernels

RATES = {"means": 1e-3, "quats": 2e-3, "log_scales": 3e-3, "logit_opacities": 4e-3, "sh": 5e-3}
TWIST = (0.01, -0.02, 0.005, 0.01, 0.0, -0.02)
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


def keyframe_of(config: TrainingConfig, depth: bool, times: int = 2, ignore: np.ndarray | None = None) -> Keyframe:
    """Of `times` WIDTH x HEIGHT pixels."""
    rng = np.random.default_rng(1)
    height, width = size = (times * HEIGHT, times * WIDTH)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    depths = rng.uniform(1.0, 6.0, size).astype(np.float32) * (rng.random(size) > 0.3) if depth else None
    intrinsics = Intrinsics(width, height, 45.0 * times, 46.0 * times, width / 2 + 1.5, height / 2 - 2.5)
    store = KeyframeStore(KeyframeConfig(), config)
    keyframe = store.add(Frame(0, image, np.eye(4), intrinsics, depths, ignore=ignore), 3.0)
    keyframe.corrections.set_values(np.array([0.1, -0.2, 0.05, 0.02, 0.0, -0.03, *TWIST]))
    return keyframe


def ignored_part() -> np.ndarray:
    """A third of the image [H, W] bool, in one piece and in specks."""
    ignore = np.random.default_rng(3).random((2 * HEIGHT, 2 * WIDTH)) < 0.02
    ignore[20:50, 30:80] = True
    return ignore


LOSSES = StepLosses(
    ssim=0.2,
    depth=0.4,
    opacity=0.1,
    coverage=0.3,
    anisotropy=0.3,
    max_anisotropy=3.0,
    depth_min_alpha=0.45,
    depth_max_error=0.4,
)


def place(keyframe: Keyframe, scale: float) -> tuple[Camera, dict]:
    """The corrected camera, and what a step is told of the exposure."""
    corrections = keyframe.corrections
    exposure = {"gain": corrections.gain, "offset": corrections.offset}
    return corrections.place(keyframe.camera(scale, torch.device("cpu")), 2.0), exposure


def by_kernels(model: GaussianModel, keyframe: Keyframe, scale: float) -> tuple[StepOutcome, dict[str, torch.Tensor]]:
    """The CPU kernels' step, and its gradients: the first moment holds a tenth of them."""
    camera, exposure = place(keyframe, scale)
    images = keyframe.scaled_images(camera.width, camera.height)
    settings = {"sh_degree": model.sh_degree, "background": model.background, **exposure}
    adam = {"betas": (BETA1, BETA2), "epsilon": EPSILON}
    outcome = train_in_place(model.parameters, model.moments, RATES, camera, *images, LOSSES, **settings, **adam)
    return outcome, {name: model.moments[name][0] / (1 - BETA1) for name in NAMES}


def by_operators(model: GaussianModel, keyframe: Keyframe, scale: float, backend: str) -> StepGradients:
    camera, exposure = place(keyframe, scale)
    color, depth, mask = keyframe.scaled_images(camera.width, camera.height)
    images = (None if image is None else torch.from_numpy(image) for image in (color, inverse_depth(depth, mask), mask))
    settings = {"sh_degree": model.sh_degree, "background": model.background, **exposure}
    return step_gradients(model.parameters, camera, *images, LOSSES, **settings, backend=backend)


def by_autograd(
    model: GaussianModel, keyframe: Keyframe, scale: float
) -> tuple[float, float, dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """The step's definition in float64: loss, mean squared error, and gradients, the exposure's and the pose's last."""
    camera, exposure = place(keyframe, scale)
    camera = replace(camera, camera_from_world=camera.camera_from_world.detach().double().requires_grad_())
    color, depth, mask = keyframe.scaled_images(camera.width, camera.height)
    counts = torch.ones(color.shape[:2], dtype=torch.bool) if mask is None else torch.from_numpy(mask)
    leaves = {name: model.parameters[name].double().requires_grad_() for name in NAMES}
    scales, opacities = leaves["log_scales"].exp(), torch.sigmoid(leaves["logit_opacities"])
    render = rasterize(
        *(leaves["means"], leaves["quats"], scales, opacities, camera),
        colors=leaves["sh"],
        sh_degree=model.sh_degree,
        depth=depth is not None,
        background=model.background.double(),
        backend="reference",
    )
    exposure = torch.from_numpy(np.stack([exposure["gain"], exposure["offset"]])).requires_grad_()
    exposed, target = render.color * exposure[0] + exposure[1], torch.from_numpy(color).double() / 255
    loss = photometric = photometric_loss(exposed, target, LOSSES.ssim, counts)
    if depth is not None:
        measured = torch.from_numpy(depth).double()
        valid = counts & (measured > 0) & (render.alpha.detach() > LOSSES.depth_min_alpha)
        error = (render.depth - measured).abs() / measured.clamp_min(1e-6)
        loss = loss + LOSSES.depth * (error.clamp_max(LOSSES.depth_max_error) * valid).sum() / valid.sum().clamp_min(1)
    loss = loss + LOSSES.opacity * (opacities * render.visible).sum() / render.visible.sum().clamp_min(1)
    ordered = leaves["log_scales"].sort(dim=1).values
    needle = (ordered[:, 2] - ordered[:, 1] - np.log(LOSSES.max_anisotropy)).clamp_min(0)
    loss = (
        loss
        + LOSSES.anisotropy * (needle * render.visible).mean()
        + LOSSES.coverage * (1 - render.alpha[counts]).mean()
    )
    loss.backward()
    mse = (exposed - target)[counts].square().mean()
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    return photometric.item(), mse.item(), gradients, exposure.grad, camera.camera_from_world.grad


def assert_close(ours: torch.Tensor, truth: torch.Tensor, what: str, tolerance: float = 1e-4) -> None:
    assert (ours - truth).norm() <= tolerance * truth.norm() + 1e-9, what


@pytest.mark.parametrize("way", ["kernels", "cpu", "reference", "gsplat"])
@pytest.mark.parametrize(
    ("count", "degree", "depth", "scale", "ignored"),
    [
        (120, 1, True, 0.5, False),
        (1, 0, True, 0.5, False),
        (200, 3, False, 1.0, False),
        (120, 1, True, 0.5, True),
        (200, 0, True, 1.0, True),
    ],
)
def test_a_steps_gradients_are_those_of_its_losses(request, way, count, degree, depth, scale, ignored):
    config, ignore = TrainingConfig(pose_rate=1e-3), ignored_part() if ignored else None
    model = model_of(count, degree)
    keyframe = keyframe_of(config, depth, ignore=ignore)
    loss, mse, truth, of_exposure, of_pose = by_autograd(model, keyframe, scale)
    if way == "kernels":
        outcome, gradients = by_kernels(model, keyframe, scale)
    else:
        if way == "gsplat":
            request.getfixturevalue("gsplat_on_cpu")
        found = by_operators(model, keyframe, scale, way)
        outcome, gradients = found.outcome, found.gradients
        torch.testing.assert_close(found.sizes, model.sizes)
    assert outcome.photometric == pytest.approx(loss, rel=1e-4) and outcome.mse == pytest.approx(mse, rel=1e-4)
    moving = torch.ones(count, dtype=torch.bool)
    if ignored:  # what no pixel that counts shows does not move, not even by the losses of all that is visible
        moving = (gradients["logit_opacities"] != 0) if way == "kernels" else found.visible
        assert moving.sum() > 0.3 * count
    for name in NAMES:
        assert_close(gradients[name][moving], truth[name][moving], name, 1e-3)
    exposure = torch.from_numpy(np.stack([outcome.gain_gradient, outcome.offset_gradient]))
    assert_close(exposure, of_exposure, "exposure")
    assert_close(torch.from_numpy(outcome.pose_gradient), of_pose, "pose", 1e-3)


@pytest.mark.parametrize("backend", ["cpu", "gsplat"])
def test_a_step_moves_what_is_seen_by_adam_and_corrects_the_keyframe(gsplat_on_cpu, backend):  # noqa: F811
    config = TrainingConfig(pose_rate=1e-3)
    model, keyframe = model_of(150, 1), keyframe_of(config, True)
    before = {name: value.clone() for name, value in model.parameters.items()}
    sizes, corrections = model.sizes, keyframe.corrections
    learnt = corrections.values()
    PhotometricTrainer(model, config, backend).step(keyframe, 0.5, 2.0, 1.0)
    rates = {
        "means": config.means_rate * sizes,
        "quats": config.quats_rate,
        "log_scales": config.scales_rate,
        "logit_opacities": config.opacities_rate,
        "sh": config.colors_rate,
    }
    for name in NAMES:
        first, second = model.moments[name]
        rate = rates[name].view(-1, 1) if name == "means" else rates[name]
        expected = before[name] - rate * first / (second.sqrt() + EPSILON)
        torch.testing.assert_close(model.parameters[name], expected, rtol=1e-5, atol=1e-6)
        assert (first != 0).any(), name
    assert torch.equal(model.features, before["features"])
    assert (corrections.values() != learnt).all()


@pytest.mark.parametrize(("depth", "most"), [(False, 65), (True, 80)])
def test_operators_of_a_step_beside_gsplats_own_are_few_and_copy_once(gsplat_on_cpu, depth, most):  # noqa: F811
    """Each is a launch on a GPU, autograd's too. At most 60 are not the rasteriser's and its gradient's."""
    model, keyframe = model_of(60, 2), keyframe_of(TrainingConfig(), depth)
    trainer = PhotometricTrainer(model, TrainingConfig(), "gsplat")
    trainer.step(keyframe, 0.5, 2.0, 1.0)  # images and cameras are copied once
    with DispatchedOperators() as step:
        trainer.step(keyframe, 0.5, 2.0, 1.0)
    with DispatchedOperators() as rasteriser:
        rasterise_and_differentiate(model, keyframe, depth)
    names = [name for name, _ in step.calls]
    assert len(names) <= most and len(names) - len(rasteriser.calls) <= 60, names
    assert "_local_scalar_dense" not in names  # no number is read for itself, which would wait for the GPU


def rasterise_and_differentiate(model: GaussianModel, keyframe: Keyframe, depth: bool) -> None:
    """What a step asks of the rasteriser, and nothing else."""
    with DispatchedOperators.paused():
        camera = ResidentImages(model.device).view(keyframe, 0.5).camera
        leaves = [value.detach().requires_grad_() for value in (*model.geometry, model.sh)]
        seeds = [torch.ones(HEIGHT, WIDTH, 3), *([torch.ones(HEIGHT, WIDTH)] * 2 if depth else [])]
    settings = {"sh_degree": model.sh_degree, "background": model.background, "depth": depth}
    render = rasterize(*leaves[:4], camera, colors=leaves[4], **settings, backend="gsplat")
    outputs = [render.color, *([render.depth, render.alpha] if depth else [])]
    torch.autograd.grad(outputs, leaves, seeds)


def test_gaussians_out_of_view_keep_still_while_the_rest_follows_adam():
    config = TrainingConfig()
    model, keyframe = model_of(200, 1), keyframe_of(config, depth=True)
    for first, second in model.moments.values():
        first.fill_(0.01), second.fill_(0.02)
    before = {name: value.clone() for name, value in model.parameters.items()}
    model.parameters["means"][:20, 2] = before["means"][:20, 2] = -5.0  # behind the camera
    PhotometricTrainer(model, config, "cpu").step(keyframe, 0.5, 1.0, 1.0)
    for name in NAMES:
        assert torch.equal(model.parameters[name][:20], before[name][:20])
        assert (model.moments[name][0][:20] == 0.01).all() and (model.moments[name][1][:20] == 0.02).all()
    moved_rows = (model.parameters["means"] != before["means"]).any(dim=1)
    assert moved_rows[20:].sum() > 50
    kept = BETA1 * 0.01 / (np.sqrt(BETA2 * 0.02) + EPSILON)  # what momentum alone would do, in rates
    rates = config.means_rate * model.sizes[moved_rows, None]
    moved_by = (model.parameters["means"] - before["means"])[moved_rows].abs()
    assert (moved_by / rates).mean() == pytest.approx(kept, rel=0.5)


@pytest.mark.parametrize("backend", ["cpu", "reference", "gsplat"])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_colour_and_depth_of_ignored_pixels_do_not_reach_the_map(gsplat_on_cpu, backend, scale):  # noqa: F811
    config, ignore = TrainingConfig(pose_rate=1e-3), ignored_part()
    found = []
    for changed in (False, True):
        model, keyframe = model_of(60, 1), keyframe_of(config, True, ignore=ignore)
        if changed:
            keyframe.image = np.where(ignore[..., None], 255 - keyframe.image, keyframe.image)
            keyframe.depth = np.where(ignore, np.float16(0.5), keyframe.depth)
        trainer = PhotometricTrainer(model, config, backend)
        reports = [trainer.step(keyframe, scale, 2.0, 1.0) for _ in range(3)]
        found.append((reports, [*model.parameters.values(), torch.from_numpy(keyframe.corrections.values())]))
    (reports, values), (other_reports, other_values) = found
    assert reports == other_reports
    assert all(torch.equal(one, other) for one, other in zip(values, other_values, strict=True))


@pytest.mark.parametrize("backend", ["cpu", "reference", "gsplat"])
def test_what_only_ignored_pixels_show_keeps_still(gsplat_on_cpu, backend):  # noqa: F811
    config = TrainingConfig(opacity_weight=0.1)
    ignore = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
    ignore[:, :WIDTH] = True
    model, keyframe = model_of(100, 0), keyframe_of(config, True, ignore=ignore)
    for first, second in model.moments.values():
        first.fill_(0.01), second.fill_(0.02)
    before = {name: value.clone() for name, value in model.parameters.items()}
    k, means = keyframe.intrinsics, before["means"]
    reach = 4 * before["log_scales"].exp().amax(dim=1) * k.fx / means[:, 2].clamp_min(0.1) + 8
    columns = k.fx * means[:, 0] / means[:, 2] + k.cx
    hidden, shown = columns + reach < WIDTH, columns - reach > WIDTH
    assert hidden.sum() >= 3 and shown.sum() >= 3
    PhotometricTrainer(model, config, backend).step(keyframe, 0.5, 2.0, 1.0)
    for name in NAMES:
        assert torch.equal(model.parameters[name][hidden], before[name][hidden]), name
    assert (model.parameters["logit_opacities"] != before["logit_opacities"])[shown].any()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_keyframe_that_is_ignored_whole_teaches_nothing(backend):
    ignore = np.ones((2 * HEIGHT, 2 * WIDTH), bool)
    model, keyframe = model_of(60, 1), keyframe_of(TrainingConfig(), True, ignore=ignore)
    before = {name: value.clone() for name, value in model.parameters.items()}
    report = PhotometricTrainer(model, TrainingConfig(), backend).step(keyframe, 0.5, 2.0, 1.0)
    assert np.isfinite(report.loss) and np.isfinite(report.psnr)
    assert all(torch.equal(model.parameters[name], before[name]) for name in NAMES)


@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_the_step_is_the_same_for_any_number_of_threads(instruction_set):
    best, threads = kernels.instruction_set(), torch.get_num_threads()
    kernels.use_instruction_set(instruction_set)
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            model = model_of(2500, 1)
            keyframe = keyframe_of(TrainingConfig(), True, times=8)  # enough for several chunks of pixels
            found.append((model, by_kernels(model, keyframe, 0.5)[0]))
    finally:
        torch.set_num_threads(threads)
        kernels.use_instruction_set(best)
    (one, outcome), (three, other_outcome) = found
    assert (outcome.photometric, outcome.mse) == (other_outcome.photometric, other_outcome.mse)
    assert all(torch.equal(one.parameters[name], three.parameters[name]) for name in NAMES)


@pytest.mark.parametrize("backend", ["cpu", "reference", "gsplat"])
def test_without_gaussians_there_is_nothing_to_move(gsplat_on_cpu, backend):  # noqa: F811
    model, keyframe = model_of(0, 1), keyframe_of(TrainingConfig(), True)
    report = PhotometricTrainer(model, TrainingConfig(), backend).step(keyframe, 0.5, 2.0, 1.0)
    assert len(model) == 0 and 0.0 < report.loss < 2.0


def test_resident_images_are_copied_once_and_within_their_limit():
    images = [keyframe_of(TrainingConfig(), depth=True) for _ in range(3)]
    for number, keyframe in enumerate(images):
        keyframe.id = number
    megabytes = WIDTH * HEIGHT * (3 + 4) / 1e6
    resident = ResidentImages(torch.device("cpu"), limit_mb=2.5 * megabytes)
    views = [resident.view(keyframe, 0.5) for keyframe in images]
    assert len(resident) == 2 and resident.megabytes == pytest.approx(2 * megabytes)
    assert resident.view(images[2], 0.5) is views[2] and resident.view(images[0], 0.5) is not views[0]
    camera = images[0].camera(0.5, torch.device("cpu"))
    assert torch.equal(views[0].camera.camera_from_world, camera.camera_from_world)
    color, depth, _ = images[0].scaled_images(WIDTH, HEIGHT)
    assert np.array_equal(views[0].color.numpy(), color)
    assert np.array_equal(views[0].inverse_depth, inverse_depth(depth, None))
    resident.clear()
    assert len(resident) == 0 and resident.megabytes == 0


def test_resident_images_leave_when_memory_runs_out():
    mapper = Mapper(MapperConfig(backend="cpu"))
    mapper.trainer.resident.view(keyframe_of(TrainingConfig(), depth=True), 1.0)
    mapper.relieve_memory()
    assert len(mapper.trainer.resident) == 0


@pytest.mark.parametrize("changed", ["image", "depth", "ignore", "world_from_camera"])
def test_a_resident_view_follows_its_keyframe(changed):
    keyframe = keyframe_of(TrainingConfig(), depth=True, ignore=ignored_part())
    resident = ResidentImages(torch.device("cpu"))
    before = resident.view(keyframe, 1.0)
    setattr(keyframe, changed, getattr(keyframe, changed).copy())
    assert resident.view(keyframe, 1.0) is not before and len(resident) == 1


def test_scaled_images_are_kept_until_depth_comes():
    keyframe = keyframe_of(TrainingConfig(), depth=False)
    color, depth, mask = keyframe.scaled_images(WIDTH, HEIGHT)
    assert mask is None and color.shape == (HEIGHT, WIDTH, 3) and depth is None
    assert keyframe.scaled_images(WIDTH, HEIGHT).color is color
    keyframe.depth = np.full(keyframe.image.shape[:2], 2.5, dtype=np.float16)
    depth = keyframe.scaled_images(WIDTH, HEIGHT).depth
    assert depth.shape == (HEIGHT, WIDTH) and depth.dtype == np.float16 and (depth == 2.5).all()
    full = keyframe.scaled_images(2 * WIDTH, 2 * HEIGHT).color
    assert np.array_equal(full, keyframe.image)
