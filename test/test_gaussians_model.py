"""Rows of the map: what is appended, removed and looked up stays consistent everywhere."""

import pytest
import torch
from gsplat_operators import gsplat_on_cpu  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.gaussians.optimizer import GaussianAdam, adam_step


def seeds(count: int, value: float = 0.5) -> GaussianSeeds:
    return GaussianSeeds(
        means=torch.full((count, 3), value),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        scales=torch.full((count, 3), 0.1),
        opacities=torch.full((count,), 0.7),
        colors=torch.full((count, 3), 0.25),
    )


def test_seeds_come_back_in_natural_units():
    model = GaussianModel(sh_degree=1)
    model.append(seeds(4), step=3)
    torch.testing.assert_close(model.scales, torch.full((4, 3), 0.1))
    torch.testing.assert_close(model.opacities, torch.full((4,), 0.7))
    torch.testing.assert_close(0.5 + 0.28209479 * model.sh[:, 0], torch.full((4, 3), 0.25))
    assert model.sh.shape == (4, 4, 3) and (model.sh[:, 1:] == 0).all()
    assert (model.born_step == 3).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1)), min_size=1, max_size=8))
def test_uids_name_rows_for_life(history):
    """Through any sequence of growing and pruning, a uid finds its own row or -1, and rows keep their values."""
    model = GaussianModel()
    expected = {}
    for count, seed in history:
        first = model.next_uid
        model.append(seeds(count), step=0)
        for uid in range(first, model.next_uid):
            row = int(model.rows_of(torch.tensor([uid]))[0])
            model.parameters["means"][row] = float(uid)
            expected[uid] = float(uid)
        keep = torch.rand(len(model), generator=torch.Generator().manual_seed(seed)) < 0.7
        for uid in model.uids[~keep].tolist():
            del expected[uid]
        model.keep(keep)
    assert model.uids.tolist() == sorted(expected)
    rows = model.rows_of(torch.arange(model.next_uid + 1))
    for uid, row in enumerate(rows.tolist()):
        assert (row == -1) == (uid not in expected)
        if row >= 0:
            assert model.means[row, 0] == expected[uid]


def test_frozen_copy_does_not_follow_training():
    model = GaussianModel()
    model.append(seeds(3), step=0)
    copy = model.frozen()
    model.parameters["means"] += 1
    assert (copy.means == 0.5).all()


@pytest.fixture(params=["kernels", "gsplat"])
def adam(request):
    """By what rows are moved: the C++ kernels and, where every row has its own rate, operators; or gsplat."""
    if request.param == "gsplat":
        request.getfixturevalue("gsplat_on_cpu")


@pytest.mark.parametrize("rate", [0.01, torch.tensor([0.01, 0.5, 0.03])], ids=["one rate", "a rate for every row"])
def test_adam_follows_the_published_update_on_visible_rows_only(adam, rate):
    model = GaussianModel()
    model.append(seeds(3), step=0)
    optimizer, visible = GaussianAdam(model), torch.tensor([True, False, True])
    reference = torch.full((3, 3), 0.5, dtype=torch.float64)
    m, v = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for step in range(5):
        gradient = torch.full((3, 3), 0.1 * (step + 1), dtype=torch.float64)
        m = torch.where(visible[:, None], 0.9 * m + 0.1 * gradient, m)
        v = torch.where(visible[:, None], 0.999 * v + 0.001 * gradient**2, v)
        rates = rate.double()[:, None] if isinstance(rate, torch.Tensor) else rate
        reference -= visible[:, None] * rates * m / (v.sqrt() + 1e-15)
        optimizer.step({"means": gradient.float()}, {"means": rate}, visible)
    torch.testing.assert_close(model.means.double(), reference, rtol=1e-5, atol=1e-6)
    assert (model.means[1] == 0.5).all()


def test_rows_without_a_gradient_can_be_left_alone(adam):
    model = GaussianModel()
    model.append(seeds(4), step=0)
    for moment in model.moments["features"]:
        moment.fill_(0.01)
    before = model.features.clone()
    gradient = torch.zeros(4, 16)
    gradient[1, 3] = gradient[2, 15] = 0.5
    visible = torch.tensor([True, True, False, True])
    GaussianAdam(model).step({"features": gradient}, {"features": 0.1}, visible, touched_only=True)
    assert (model.features != before).any(dim=1).tolist() == [False, True, False, False]
    GaussianAdam(model).step({"features": gradient}, {"features": 0.1}, touched_only=True)
    assert (model.features != before).any(dim=1).tolist() == [False, True, True, False]


def test_rows_removed_take_their_moments_along():
    model = GaussianModel()
    model.append(seeds(2), step=0)
    GaussianAdam(model).step({"means": torch.tensor([[1.0] * 3, [2.0] * 3])}, {"means": 0.1})
    model.keep(torch.tensor([False, True]))
    torch.testing.assert_close(model.moments["means"][0], torch.full((1, 3), 0.2))


@pytest.mark.parametrize("degree", [-1, 4])
def test_unsupported_sh_degree_is_named(degree):
    with pytest.raises(ValueError, match=str(degree)):
        GaussianModel(sh_degree=degree)


def test_rows_that_do_not_move_keep_their_adam_moments():
    first, second = torch.full((3, 2), 0.1), torch.full((3, 2), 0.2)
    moves = torch.tensor([[True], [False], [True]])
    step = adam_step(first, second, torch.ones(3, 2), (0.9, 0.999), 1e-15, moves)
    torch.testing.assert_close(first[:, 0], torch.tensor([0.19, 0.1, 0.19]))
    torch.testing.assert_close(second[1], torch.tensor([0.2, 0.2]))
    assert (step[1] == 0).all() and (step[0] == step[2]).all() and (step[0] > 0).all()
