"""The parts that changes of the world are noticed with: existence, new matter, motions of clouds, moved Gaussians."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping.change_config import ComparisonConfig, ExistenceConfig, RelocationConfig
from cgc_ros.mapping.existence import ExistenceTable
from cgc_ros.mapping.fresh_matter import FreshMatter
from cgc_ros.mapping.object_matter import moved, rotated_harmonics, take_out
from cgc_ros.mapping.relocation import ColoredCloud, relocations
from cgc_ros.mapping.view_comparison import UNKNOWN, depth_levels, num_levels, told
from cgc_ros.rendering.spherical_harmonics import basis

CONFIG = ExistenceConfig()
COMPARISON = ComparisonConfig()
MARGINS = len(COMPARISON.margins)
UP = np.array([0.0, 0.0, 1.0])


def counts(agrees: float = 0.0, through: float = 0.0, nearer: float = 0.0) -> np.ndarray:
    """Pixels by level: those that differ do so beyond all margins."""
    levels = np.zeros(num_levels(COMPARISON))
    levels[0], levels[MARGINS], levels[2 * MARGINS] = agrees, through, nearer
    return levels


def confirmed(views: int = 5) -> ExistenceTable:
    table = ExistenceTable(CONFIG)
    for k in range(views):
        assert not table.hear(7, counts(agrees=100), stamp_ns=k + 1)
    return table


def test_an_object_that_views_see_through_is_gone_after_a_few():
    table = confirmed()
    gone = [table.hear(7, counts(through=90, agrees=10), stamp_ns=10 + k) for k in range(4)]
    assert gone.index(True) == 2 and table.of[7].last_confirmed_ns == 5 and table.of[7].existence < 0.3


def test_what_stands_before_an_object_says_nothing_of_it():
    table = confirmed()
    before = replace(table.of[7])
    assert not any(table.hear(7, counts(nearer=100), stamp_ns=10 + k) for k in range(50))
    assert table.of[7] == before


def test_one_view_that_errs_is_outvoted():
    table = confirmed()
    for k in range(20):
        assert not table.hear(7, counts(through=100), stamp_ns=10 + 2 * k)
        assert not table.hear(7, counts(agrees=100), stamp_ns=11 + 2 * k)


def test_what_was_hardly_seen_or_never_fitted_cannot_be_missed():
    young = confirmed(CONFIG.confirmations - 1)
    unsure = ExistenceTable(CONFIG)
    for k in range(10):  # a third of it always differs: misaligned depth, glass
        unsure.hear(7, counts(agrees=65, through=35), stamp_ns=k + 1)
    for table in (young, unsure):
        assert not any(table.hear(7, counts(through=100), stamp_ns=20 + k) for k in range(20))


def test_a_glimpse_hardly_counts():
    table = confirmed()
    assert not any(table.hear(7, counts(through=8), stamp_ns=10 + k) for k in range(20))


def test_presences_are_saved_and_restored():
    table, other = confirmed(), ExistenceTable(CONFIG)
    other.restore(table.saved())
    assert other.of == table.of
    garbled = table.saved()
    garbled.info["presence"][7]["log_odds"] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        ExistenceTable(CONFIG).restore(garbled)


def test_levels_of_depth_name_side_and_size_of_a_difference():
    rendered = np.full((9, 30), 1.0, np.float32)
    measured = rendered.copy()
    measured[:, 10:20], measured[:, 20:] = 1.03, 0.9
    measured[:, :3] = 0.0
    levels = depth_levels(measured, rendered, COMPARISON)
    assert (levels[2:-2, :3] == UNKNOWN).all()
    assert (levels[2:-2, 5:9] == 0).all()
    assert (levels[2:-2, 12:18] == 3).all()  # beyond 0.8%, 1.2% and 2%, not beyond 3.5%
    assert (levels[2:-2, 22:28] == 2 * MARGINS).all()
    heard = told(np.bincount(levels[levels >= 0], minlength=num_levels(COMPARISON)).astype(float), level=3)
    assert heard.through == 0 and heard.nearer > 0 and heard.agrees > 0


def test_a_pixel_that_agrees_with_a_neighbour_does_not_differ():
    rendered = np.full((12, 12), 1.0, np.float32)
    rendered[:, :6] = 2.0
    measured = np.roll(rendered, 1, axis=1)  # a border that is off by one pixel
    measured[:, :1] = 2.0
    assert (depth_levels(measured, rendered, COMPARISON) <= 0).all()


def test_new_matter_settles_once_when_views_agree():
    fresh, living = FreshMatter(), np.arange(100)
    fresh.add(np.array([10, 11, 12]), 5, np.array([True, True, False]))
    fresh.add(np.array([20]), 9, np.array([True]))
    none = np.zeros(0, np.int64)
    assert len(fresh.hear(np.array([10, 11, 20]), none, living, enough=2)[0]) == 0
    settled, since_ns = fresh.hear(np.array([10, 20]), np.array([11]), living, enough=2)
    assert settled.tolist() == [10, 20] and since_ns == 5
    assert len(fresh.hear(np.array([10, 20]), none, living, enough=2)[0]) == 0
    assert fresh.since(5).tolist() == [20] and fresh.since(4).tolist() == [10, 11, 12, 20]
    assert fresh.sure_uids.tolist() == [10, 11, 20]
    again = FreshMatter()
    again.restore(fresh.saved())
    assert again.uids.tolist() == fresh.uids.tolist() and again.views.tolist() == fresh.views.tolist()
    fresh.hear(none, none, np.array([12]), enough=2)
    assert fresh.uids.tolist() == [12]


def box_cloud(size: tuple[float, float, float], seed: int, count: int = 1500) -> ColoredCloud:
    """Points on the faces of a box, each face in colours of its own with a smooth pattern."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (count, 3))
    faces = rng.integers(6, size=count)
    points[np.arange(count), faces // 2] = (faces % 2) - 0.5
    points *= size
    palette = np.random.default_rng(1).uniform(0.1, 0.9, (6, 3))
    waves = 0.1 * np.sin(points @ [40.0, 23.0, 31.0])
    return ColoredCloud(points, np.clip(palette[faces] + waves[:, None], 0, 1))


@settings(max_examples=3, deadline=None)
@given(yaw=st.floats(0, 360), x=st.floats(-0.6, 0.6), y=st.floats(-0.6, 0.6), tipped=st.sampled_from(["", "x", "y"]))
def test_a_box_is_found_again_wherever_it_was_put(yaw, x, y, tipped):
    old, new = box_cloud((0.16, 0.1, 0.22), seed=2), box_cloud((0.16, 0.1, 0.22), seed=3)
    true = np.eye(4)
    turn = Rotation.from_euler("z", yaw, degrees=True)
    true[:3, :3] = (turn * Rotation.from_euler(tipped, 90, degrees=True) if tipped else turn).as_matrix()
    true[:3, 3] = [x, y, 0.05]
    there = ColoredCloud(new.points @ true[:3, :3].T + true[:3, 3], new.colors)
    found = relocations(old, there, UP, scene_depth=1.0, config=RelocationConfig())
    assert found
    error = np.linalg.inv(true) @ found[0].transform
    assert np.linalg.norm(error[:3, 3]) < 0.004
    assert np.degrees(np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))) < 2


def test_another_thing_is_not_taken_for_it():
    old, small = box_cloud((0.16, 0.1, 0.22), seed=2), box_cloud((0.05, 0.05, 0.04), seed=3)
    painted = ColoredCloud(box_cloud((0.16, 0.1, 0.22), seed=3).points, 1.0 - old.colors)
    for other in (small, painted):
        assert relocations(old, other, UP, scene_depth=1.0, config=RelocationConfig()) == []


def gaussians(count: int = 40, degree: int = 2) -> GaussianModel:
    generator = torch.Generator().manual_seed(4)
    model = GaussianModel(degree)
    seeds = GaussianSeeds(
        torch.randn(count, 3, generator=generator),
        torch.randn(count, 4, generator=generator),
        torch.rand(count, 3, generator=generator) * 0.1 + 0.01,
        torch.rand(count, generator=generator) * 0.8 + 0.1,
        torch.rand(count, 3, generator=generator),
    )
    model.append(seeds, step=3, generator=generator)
    model.parameters["sh"] = torch.randn(model.sh.shape, generator=generator)
    return model


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), degree=st.integers(1, 3))
def test_turned_harmonics_look_from_there_as_they_did_from_here(seed, degree):
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix()).float()
    sh = gaussians(degree=degree).sh
    directions = torch.nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(seed)), dim=1)
    here = torch.einsum("dk,nkc->dnc", basis(degree, directions), sh)
    there = torch.einsum("dk,nkc->dnc", basis(degree, directions @ turn.T), rotated_harmonics(sh, turn, degree))
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3)


def test_matter_leaves_a_map_and_comes_back_under_its_uids():
    model = gaussians()
    model.agreed += torch.arange(40)
    before = {name: value.clone() for name, value in model.parameters.items()}
    rows = torch.tensor([0, 5, 17, 39])
    matter = take_out(model, rows)
    assert len(model) == 36 and matter.uids.tolist() == rows.tolist()
    with pytest.raises(ValueError, match="are in the map"):
        model.insert(model.extract(torch.tensor([1])))
    model.insert(matter)
    assert model.uids.tolist() == list(range(40)) and model.agreed.tolist() == list(range(40))
    for name, value in before.items():
        assert torch.equal(model.parameters[name], value), name


def test_moved_matter_goes_where_the_transform_takes_it():
    matter, pose = gaussians(), np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix(), [0.2, -0.1, 0.4]
    there = moved(matter, pose)
    back = moved(there, np.linalg.inv(pose))
    torch.testing.assert_close(back.means, matter.means, rtol=0, atol=1e-5)
    torch.testing.assert_close(back.sh, matter.sh, rtol=1e-3, atol=1e-3)
    assert torch.equal(there.uids, matter.uids) and torch.equal(there.scales, matter.scales)
    wanted = matter.means.double().numpy() @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(there.means.numpy(), wanted, atol=1e-5)
