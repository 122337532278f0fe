"""Who leaves a map that is full: what no keyframe sees, then what contributes least, whatever was seen last."""

from dataclasses import replace

import numpy as np
import torch

from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping import Mapper, MapperConfig
from cgc_ros.mapping.config import DensityConfig, KeyframeConfig, SeedingConfig, TrainingConfig
from cgc_ros.mapping.contribution import MapContribution
from cgc_ros.mapping.depth_source import SeedDepth
from cgc_ros.mapping.growth import MapGrowth
from cgc_ros.mapping.keyframes import KeyframeStore

WIDTH, HEIGHT, FOCAL = 160, 120, 120.0
INTRINSICS = Intrinsics(WIDTH, HEIGHT, FOCAL, FOCAL, 79.5, 59.5)


def patch(x: float, z: float, count: int = 9, scale: float = 0.1, opacity: float = 0.95) -> GaussianSeeds:
    """A square of flat Gaussians of one metre, around (x, 0, z)."""
    offsets = torch.linspace(-0.5, 0.5, count)
    rows, columns = torch.meshgrid(offsets, offsets, indexing="ij")
    means = torch.stack([columns.ravel() + x, rows.ravel(), torch.full((count**2,), z)], dim=1)
    scales = torch.tensor([scale, scale, 0.001]).repeat(count**2, 1)
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count**2, 1)
    return GaussianSeeds(means, quats, scales, torch.full((count**2,), opacity), torch.full((count**2, 3), 0.5))


def camera_at(store: KeyframeStore, x: float, image: np.ndarray | None = None, depth: np.ndarray | None = None):
    """A keyframe that looks along z from (x, 0, 0)."""
    pose = np.eye(4)
    pose[0, 3] = x
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    return store.add(Frame(len(store), image, pose, INTRINSICS, depth), 2.0)


def store_of(*places: float) -> KeyframeStore:
    store = KeyframeStore(KeyframeConfig(), TrainingConfig())
    for x in places:
        camera_at(store, x)
    return store


def added(model: GaussianModel, seeds: GaussianSeeds) -> torch.Tensor:
    """Uids of the new Gaussians, which are their rows until some are removed."""
    model.append(seeds, step=0)
    return model.uids[-len(seeds) :]


def growing(model: GaussianModel, store: KeyframeStore, cap: int) -> MapGrowth:
    density = DensityConfig(max_gaussians=cap, make_room=1.0)
    return MapGrowth(model, SeedingConfig(), density, MapContribution(model, store, density, "cpu"), "cpu", 0)


def textured() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def new_place(growth: MapGrowth, store: KeyframeStore, step: int = 1000) -> int:
    """Seeds for a keyframe of a place 100 m from all others; how many joined."""
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    keyframe = camera_at(store, 100.0, textured(), depth)
    return growth.seed(SeedDepth(keyframe, depth, np.zeros(depth.shape, bool), np.ones_like(depth)), step)


def test_a_gaussian_counts_as_much_as_its_best_view_shows_of_it():
    """However many keyframes see it, and relative to the view, so that cameras of any size count alike."""
    model, store = GaussianModel(), store_of(0.0, 0.05, -0.05, 50.0)
    often, once = added(model, patch(0.0, 2.0)), added(model, patch(50.0, 2.0))
    values = MapContribution(model, store, DensityConfig(), "cpu").measure()
    torch.testing.assert_close(values[often].sum(), values[once].sum(), rtol=0.05, atol=0.0)
    share = (1.2 * FOCAL / 2.0) ** 2 / (
        WIDTH * HEIGHT
    )  # the patch with half a Gaussian's width on each side, of the view
    assert 0.7 * share < float(values[once].sum()) < 1.3 * share


def test_what_no_keyframe_sees_leaves_first():
    model, store = GaussianModel(), store_of(0.0)
    hidden, seen = added(model, patch(0.0, -3.0)), added(model, patch(0.0, 2.0))  # behind the camera, and before it
    growth = growing(model, store, cap=len(model))
    growth.density = replace(growth.density, make_room=0.5)
    joined = new_place(growth, store)
    assert joined == len(hidden) and len(model) == 2 * len(hidden)
    assert (model.rows_of(hidden) < 0).all() and (model.rows_of(seen) >= 0).all()


def test_what_only_an_old_keyframe_sees_stays_while_what_hides_behind_others_goes():
    model = GaussianModel()
    store = store_of(50.0, *[0.1 * k for k in range(20)])  # the first place was seen once, the second one often
    old, front = added(model, patch(50.0, 2.0)), added(model, patch(1.0, 2.0, scale=0.2, opacity=0.999))
    redundant = added(model, patch(1.0, 2.2, count=7, scale=0.02))
    growth = growing(model, store, cap=len(model))
    growth.density = replace(growth.density, make_room=49 / len(model))
    new_place(growth, store)
    assert (model.rows_of(redundant) < 0).all()
    assert (model.rows_of(old) >= 0).all() and (model.rows_of(front) >= 0).all()


def test_the_cap_holds_at_every_moment():
    """Threads that report the map's size read it while a keyframe is seeded."""
    model, store, sizes = GaussianModel(), store_of(0.0), []
    added(model, patch(0.0, -3.0))
    append, keep = model.append, model.keep
    model.append = lambda *given: (append(*given), sizes.append(len(model)))
    model.keep = lambda *given: (keep(*given), sizes.append(len(model)))
    new_place(growing(model, store, cap=81), store)
    assert sizes and max(sizes) <= 81


def test_seeds_take_no_room_from_what_contributes_more():
    model, store = GaussianModel(), store_of(0.0)
    added(model, patch(0.0, 2.0, count=3, scale=0.4))  # each takes a good part of its view
    growth = growing(model, store, cap=len(model))
    assert new_place(growth, store) == 0 and (model.uids < 9).all()


def test_young_gaussians_are_left_to_show_what_they_are_good_for():
    model, store = GaussianModel(), store_of(0.0)
    hidden = len(added(model, patch(0.0, -3.0)))
    growth = growing(model, store, cap=hidden)
    assert new_place(growth, store, step=growth.density.min_age - 1) == 0


def test_nothing_is_called_unseen_before_every_keyframe_has_looked():
    """Of many keyframes the most different ones look first, the others a few at a time."""
    density = DensityConfig(contribution_first=6, contribution_again=2)
    places = [0.0001 * k for k in range(12)]
    model, store = GaussianModel(), store_of(*places)
    unseen = added(model, patch(0.0, -3.0))
    added(model, patch(0.0, 2.0))
    contribution, calls = MapContribution(model, store, density, "cpu"), 1
    while torch.isinf(contribution.measure()[unseen]).any():
        calls += 1
    assert calls == 3
    assert (contribution.measure()[unseen] == 0).all()


def test_what_moves_into_view_is_noticed_and_rows_keep_their_values():
    model, store = GaussianModel(), store_of(0.0)
    first = added(model, patch(0.0, 2.0))
    second = added(model, patch(0.0, -3.0))
    contribution = MapContribution(model, store, DensityConfig(), "cpu")
    before = contribution.measure()
    assert (before[second] == 0).all() and (before[first] > 0).all()
    model.parameters["means"][second, 2] = 1.0
    model.keep(torch.arange(len(model)) % 2 == 0)
    after = contribution.measure()
    assert (after > 0).all()


def test_views_that_are_spread_reach_every_place():
    store = store_of(*[0.01 * k for k in range(30)], 40.0, *[0.01 * k for k in range(30)], 80.0)
    chosen = [keyframe.world_from_camera[0, 3] for keyframe in store.spread(3)]
    assert 40.0 in chosen and 80.0 in chosen and min(chosen) < 1.0


def test_a_map_that_runs_out_of_memory_loses_what_contributes_least():
    mapper = Mapper(MapperConfig(backend="cpu"))
    added(mapper.model, patch(0.0, -3.0, count=25))
    added(mapper.model, patch(0.0, 2.0, count=36, scale=0.02))
    camera_at(mapper.keyframes, 0.0)
    mapper.relieve_memory()
    left = int(0.7 * (25**2 + 36**2))
    assert len(mapper.model) == left and int((mapper.model.uids >= 25**2).sum()) == min(left, 36**2)


def test_where_no_depth_camera_tells_the_surface_new_gaussians_are_faint():
    """Stereo of full confidence, and a depth camera."""
    opacities = {}
    for trust in (0.3, 1.0):
        model, store = GaussianModel(), KeyframeStore(KeyframeConfig(), TrainingConfig())
        depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
        keyframe = camera_at(store, 0.0, textured(), depth)
        keyframe.depth_trust = trust
        growth = growing(model, store, 1000)
        growth.seed(SeedDepth(keyframe, depth, np.zeros(depth.shape, bool), np.ones_like(depth)), 0)
        opacities[trust] = model.opacities
    assert torch.allclose(opacities[0.3], torch.tensor(SeedingConfig().stereo_opacity))
    assert torch.allclose(opacities[1.0], torch.tensor(SeedingConfig().opacity))
