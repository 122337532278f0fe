"""The paper's recipe offline on a small ray-cast scene, its schedule, and its formulas against the publications'."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from recording_writer import write_recording

from cgc_ros import cli
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import UNLABELLED, FrameError
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping import DensityConfig, Mapper, MapperConfig, PaperConfig, create_mapper
from cgc_ros.mapping.depth_source import DepthSource
from cgc_ros.mapping.keyframes import KeyframeStore
from cgc_ros.mapping.saved_map import open_map
from cgc_ros.paper.initial_points import initial_gaussians, neighbour_distances
from cgc_ros.paper.mapper import PaperMapper
from cgc_ros.paper.training import PaperTrainer, harmonics_degree, means_rate, view_contrast
from cgc_ros.rendering import Camera

# Features learn faster and oftener than published, as this run has 300 steps of 80x60 pixels, not 30,000 of VGA's 64
# times as many (the contrastive term is a sum over pixels).
PAPER = PaperConfig(
    iterations=300,
    start_after=0.0,
    sh_degree=1,
    initial_points=1500,
    contrastive_every=5,
    contrastive_weight=64e-6,
    features_rate=1e-2,
    min_mask_pixels=20,
    cluster_sample=4000,
)
CONFIG = MapperConfig(backend="cpu", recipe="paper", density=DensityConfig(max_gaussians=4000), paper=PAPER)


@pytest.fixture(scope="module")
def sequence():
    return SyntheticSequence(num_frames=16, width=80, height=60)


@pytest.fixture(scope="module")
def trained(sequence):
    """A finished run, and its held-out PSNR after the first step and after the last."""
    mapper = create_mapper(CONFIG)
    feed(mapper, sequence)
    mapper.step()
    start = held_out_psnr(mapper, sequence)
    while mapper.step() is not None:
        pass
    return mapper, start, held_out_psnr(mapper, sequence)


def feed(mapper, sequence):
    for index in range(len(sequence)):
        if not sequence.is_held_out(index):
            assert mapper.add_frame(sequence[index]).kind == "keyframe"


def held_out(sequence):
    frame = sequence[7]
    return frame, sequence.truth.instances(7), Camera.from_intrinsics(frame.intrinsics, frame.world_from_camera)


def held_out_psnr(mapper, sequence):
    frame, _, camera = held_out(sequence)
    error = mapper.snapshot().render(camera).color / 255.0 - frame.image / 255.0
    return -10 * np.log10(np.mean(error**2))


def test_every_frame_is_kept_and_rendering_improves_over_the_run(trained):
    mapper, start, end = trained
    assert len(mapper.keyframes) == 14 and mapper.steps == 300 and mapper.finished
    assert start < 18.0 and end > 25.0
    assert 1500 < len(mapper.model) <= 4000  # density control has grown the map, under the cap
    assert all(keyframe.steps in (21, 22) for keyframe in mapper.keyframes)  # 300 / 14: each in turn


def test_a_run_tells_where_its_time_went(trained):
    work = trained[0].work
    assert all(work.busy[kind] > 0 for kind in ("train", "objects", "frames", "other"))
    assert work.training_share == pytest.approx(work.busy["train"] / sum(work.busy.values()))
    assert 0.0 < work.training_share < 1.0


def test_objects_separate_and_have_one_id_in_a_view_never_seen(trained, sequence):
    _, instances, camera = held_out(sequence)
    labels = trained[0].snapshot().segment(camera)
    winners = set()
    for instance, (_, kind) in sequence.truth.labels.items():
        mine = instances == instance
        ids, counts = np.unique(labels[mine], return_counts=True)
        iou = counts.max() / ((labels == ids[counts.argmax()]) | mine).sum()
        if kind == "object" and iou > 0.6:
            winners.add(int(ids[counts.argmax()]))
    assert len(winners) >= 3 and UNLABELLED not in winners


def test_objects_know_whether_they_are_background_and_how_often_they_were_seen(trained, sequence):
    objects = trained[0].snapshot().objects
    assert any(o.background for o in objects)
    things = [o for o in objects if not o.background]
    stamps = [sequence.frames[0].stamp_ns, sequence.frames[14].stamp_ns]
    assert len(things) >= 3
    for thing in things:
        assert 2 <= thing.num_views <= 14 and 0 < thing.confidence <= 1
        assert stamps[0] <= thing.first_seen_ns <= thing.last_seen_ns <= stamps[1]
        assert np.linalg.norm(thing.box.center - [0, 0, 0.06]) < 0.5  # among the solids


def test_a_saved_map_gives_the_same_labels_and_is_a_finished_run(trained, sequence, tmp_path):
    mapper = trained[0]
    mapper.save(tmp_path / "map.cgc")
    _, _, camera = held_out(sequence)
    loaded = open_map(tmp_path / "map.cgc", backend="cpu")
    assert isinstance(loaded, PaperMapper) and loaded.finished and loaded.step() is None
    snapshot = loaded.snapshot()
    np.testing.assert_array_equal(snapshot.segment(camera), mapper.snapshot().segment(camera))
    assert [o.id for o in snapshot.objects] == [o.id for o in mapper.snapshot().objects]

    ours = Mapper(replace(CONFIG, recipe="default", sh_degree=1))
    ours.restore(tmp_path / "map.cgc")  # the node reads the file too: ids are on the Gaussians
    labels, by_feature = ours.snapshot().segment(camera), snapshot.segment(camera)
    assert (labels == by_feature).mean() > 0.9


def test_ids_last_through_a_new_clustering(trained, sequence):
    mapper = trained[0]
    _, _, camera = held_out(sequence)
    before = mapper.snapshot().segment(camera)
    mapper.update_objects()
    assert (mapper.snapshot().segment(camera) == before).mean() > 0.9


@pytest.mark.parametrize("levels", [0, 1, 2], ids=["no masks", "masks of objects", "masks of objects and parts"])
def test_features_learn_from_masks_that_come_after_their_frame(sequence, levels):
    mapper = create_mapper(replace(CONFIG, paper=replace(PAPER, contrastive_every=1)))
    mapper.add_frame(replace(sequence[0], masks=None))
    mapper.step()
    before = mapper.model.features.clone()
    if levels:
        masks = sequence[0].masks
        assert mapper.add_masks(0, masks if levels == 1 else np.stack([masks, masks]))
    mapper.step()
    assert (mapper.model.features != before).any() == (levels > 0)


def test_a_frame_that_does_not_fit_is_refused(sequence):
    mapper = create_mapper(CONFIG)
    with pytest.raises(FrameError, match="bad_pose|pose"):
        mapper.add_frame(replace(sequence[0], world_from_camera=np.full((4, 4), np.nan)))
    assert len(mapper.keyframes) == 0 and mapper.step() is None


def test_unknown_recipes_are_refused():
    with pytest.raises(ValueError, match="one of default, paper, not 'magic'"):
        MapperConfig(recipe="magic")
    assert type(create_mapper(replace(CONFIG, recipe="default"))) is Mapper


def test_the_command_maps_with_the_recipe_and_scores_the_map(sequence, tmp_path):
    recording = write_recording(tmp_path / "recording", sequence)
    run = tmp_path / "run"
    settings = ["paper.start_after=0.5", "paper.initial_points=800", "paper.sh_degree=0"]
    options = [word for setting in settings for word in ("--set", setting)]
    options += ["--recipe", "paper", "--budget", "5", "--backend", "cpu", "--max-gaussians", "1500"]
    assert cli.main(["map", str(recording), "--out", str(run), *options]) == 0
    assert cli.main(["eval", str(run), str(recording), "--backend", "cpu"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["num_keyframes"] == metrics["frames"]["used"] == 14 and metrics["frames"]["dropped"] == {}
    assert metrics["run"]["recipe"] == "paper" and metrics["steps"] > 0
    assert 800 <= metrics["num_gaussians"] <= 1500 and metrics["psnr"] > 14.0


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_training_waits_for_the_last_frame_and_fills_the_budget(sequence):
    now = [100.0]
    mapper = PaperMapper(replace(CONFIG, paper=replace(PAPER, start_after=2.0)), budget=60.0, clock=lambda: now[0])
    mapper.add_frame(sequence[0])
    now[0] = 109.0
    mapper.add_frame(sequence[1])
    now[0] = 110.9
    assert mapper.step() is None
    now[0] = 120.0  # 20 of 60 seconds are gone: 40 are left for training
    assert mapper.step() is not None and mapper.progress == pytest.approx(1 / 300)  # no time passed: steps count
    now[0] = 140.0
    mapper.step()
    assert mapper.progress == pytest.approx(0.5) and not mapper.finished
    now[0] = 160.0
    assert mapper.step() is not None and mapper.finished
    assert mapper.step() is None and mapper.steps == 3


def test_without_depth_from_anywhere_nothing_is_trained(sequence):
    mapper = create_mapper(CONFIG)
    mapper.add_frame(replace(sequence[0], depth=None))
    assert mapper.step() is None and len(mapper.model) == 0
    assert (mapper.snapshot().segment(held_out(sequence)[2]) == UNLABELLED).all()


def test_rates_and_harmonics_follow_the_run():
    config = PaperConfig()
    assert means_rate(0.0, config) == pytest.approx(1.6e-4) and means_rate(1.0, config) == pytest.approx(1.6e-6)
    assert means_rate(0.5, config) == pytest.approx(1.6e-5)
    steps = [0, 999, 1000, 2000, 3000, 30_000]  # of 30,000, as published
    assert [harmonics_degree(step / 30_000, config) for step in steps] == [0, 0, 1, 2, 3, 3]


# --- first points ---------------------------------------------------------------------------------------------------


def test_a_point_is_as_wide_as_its_three_neighbours_are_far():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])  # squared distances 1, 1, 2
    np.testing.assert_allclose(neighbour_distances(square), math.sqrt(4 / 3), rtol=1e-6)


def keyframes_of(sequence, indices, depth=True):
    store = KeyframeStore(CONFIG.keyframes, CONFIG.training)
    for index in indices:
        frame = sequence[index]
        store.add(frame if depth else replace(frame, depth=None), 1.0)
    return list(store)


def depth_errors(points, sequence, index):
    """Relative depth error of the points ([P, 3]) that fall into a view and are not hidden there."""
    frame = sequence[index]
    local = (points - frame.world_from_camera[:3, 3]) @ frame.world_from_camera[:3, :3]
    pixels = (local @ frame.intrinsics.matrix().T)[:, :2] / local[:, 2:]
    columns, rows = np.round(pixels).astype(int).T
    height, width = frame.depth.shape
    inside = (local[:, 2] > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    truth = frame.depth[rows[inside], columns[inside]]
    error = (local[inside, 2] - truth) / truth
    return np.abs(error[error < 0.1])


def test_points_start_on_the_measured_surface(sequence):
    keyframes = keyframes_of(sequence, [0, 1, 2])
    seeds = initial_gaussians(keyframes, PAPER, DepthSource(torch.device("cpu")), np.random.default_rng(0))
    assert len(seeds) == 1500 and (seeds.opacities == PAPER.initial_opacity).all()
    assert (seeds.scales[:, 0] == seeds.scales[:, 2]).all() and 0.005 < float(seeds.scales.median()) < 0.2
    errors = depth_errors(seeds.means.numpy(), sequence, 1)
    assert len(errors) > 800 and np.median(errors) < 0.01


def test_without_depth_images_stereo_gives_the_points():
    sequence = SyntheticSequence(num_frames=40, width=160, height=120)
    keyframes = keyframes_of(sequence, [16, 17, 18], depth=False)
    config = replace(PAPER, stereo_views=1)
    seeds = initial_gaussians(keyframes, config, DepthSource(torch.device("cpu")), np.random.default_rng(0))
    assert len(seeds) > 500
    errors = depth_errors(seeds.means.numpy(), sequence, 16)
    assert np.median(errors) < 0.03


# --- formulas -------------------------------------------------------------------------------------------------------


def test_the_contrastive_term_is_the_papers_sum_over_pixels():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 8, 16, generator=generator)
    masks = torch.zeros(6, 8, dtype=torch.int64)
    masks[:3, :5], masks[3:, 2:], masks[0, 6:] = 1, 2, 3
    unit = torch.nn.functional.normalize(features, dim=2)
    centroids = [unit[masks == p].mean(dim=0) for p in (1, 2, 3)]
    temperatures = []
    for p, c in zip((1, 2, 3), centroids, strict=True):
        pixels = unit[masks == p]
        spread = sum(float((f - c).norm()) for f in pixels)
        temperatures.append(min(max(10 * spread / (len(pixels) * math.log(len(pixels) + 100)), 0.1), 1.0))
    total = 0.0
    for p in (1, 2, 3):
        for f in unit[masks == p]:
            terms = [math.exp(float(f @ c) / t) for c, t in zip(centroids, temperatures, strict=True)]
            total -= math.log(terms[p - 1] / sum(terms))
    assert float(view_contrast(features, masks)) == pytest.approx(total / 3, rel=1e-5)


def test_gaussians_move_as_torchs_adam_moves_them():
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(shape, generator=generator)

    model = GaussianModel(sh_degree=1)
    seeds = GaussianSeeds(random(5, 3), random(5, 4), 0.1 + random(5, 3), 0.2 + 0.5 * random(5), random(5, 3))
    model.append(seeds, 0, generator)
    extent, progress = 3.0, 0.25
    rates = {
        "means": 1.6e-4**0.75 * 1.6e-6**0.25 * extent,
        "quats": 1e-3,
        "log_scales": 5e-3,
        "logit_opacities": 5e-2,
        "sh": 2.5e-3,
        "bands": 2.5e-3 / 20,
        "features": 2.5e-3,
    }
    expected = by_band(model.parameters)
    adam = torch.optim.Adam([{"params": [expected[name]], "lr": rate} for name, rate in rates.items()], eps=1e-15)
    trainer = PaperTrainer(model, PaperConfig(), "cpu", seed=0)
    for step in range(4):
        gradients = {name: random(*value.shape) - 0.5 for name, value in model.parameters.items()}
        if step % 2:
            gradients["features"].zero_()
        for name, gradient in by_band(gradients).items():
            expected[name].grad = gradient
        adam.step()
        trainer.update(gradients | ({"features": None} if step % 2 else {}), progress, extent)
    for name, value in by_band(model.parameters).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def by_band(values):
    """Copies, the first band of harmonics apart from the others: 3DGS gives them rates of their own."""
    copies = {name: value.clone() for name, value in values.items()}
    return copies | {"sh": copies["sh"][:, :1].clone(), "bands": copies["sh"][:, 1:].clone()}
