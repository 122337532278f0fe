"""Objects of one snapshot serve the next where their Gaussians have not changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgc_ros.gaussians.model import GaussianModel, GaussianSeeds
from cgc_ros.mapping.config import SnapshotConfig
from cgc_ros.mapping.object_clouds import ObjectClouds
from cgc_ros.segmentation.object_state import ObjectRecord

SPACING, UP = 0.01, np.array([0.0, 0.0, 1.0])
RECORDS = {each: ObjectRecord(each, False, 0.9, 3, 1, 2) for each in (4, 7)}
IDS = torch.tensor([4] * 100 + [7] * 100, dtype=torch.int32)


@pytest.fixture
def model() -> GaussianModel:
    """Two balls of 100 Gaussians each."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 3)) * 0.05 + np.repeat([[0, 0, 0], [1, 0, 0]], 100, axis=0)
    made = GaussianModel(0, torch.device("cpu"))
    made.append(
        GaussianSeeds(
            torch.from_numpy(means),
            torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(200, 1),
            torch.full((200, 3), 0.01),
            torch.full((200,), 0.9),
            torch.full((200, 3), 0.5),
        ),
        step=0,
    )
    return made


def objects(clouds: ObjectClouds, model: GaussianModel, ids=IDS, records=RECORDS, names=None):
    def told(object_id: int) -> dict:
        return {"label": (names or {}).get(object_id, ""), "background": False}

    return clouds.objects(model.frozen(), ids, records, told, SPACING, UP, SnapshotConfig())


def moved(model: GaussianModel, rows: slice, by: float) -> None:
    with torch.no_grad():
        model.parameters["means"][rows, 0] += by


def test_what_has_not_changed_is_the_same_instance(model):
    clouds = ObjectClouds()
    assert objects(clouds, model) == objects(clouds, model)
    first, second = objects(clouds, model), objects(clouds, model)
    assert all(one is other for one, other in zip(first, second, strict=True)) and len(first) == 2


def test_only_an_object_that_moved_is_made_anew_and_where_it_is_now(model):
    clouds = ObjectClouds()
    before = objects(clouds, model)
    moved(model, slice(100, 200), 0.3)
    after = objects(clouds, model)
    assert after[0] is before[0] and after[1] is not before[1]
    assert after[1].box.center[0] - before[1].box.center[0] == pytest.approx(0.3, abs=1e-3)


def test_small_motions_add_up(model):
    """Each a tenth of what counts: an object is never further off than that."""
    clouds, config = ObjectClouds(), SnapshotConfig()
    first = objects(clouds, model)[0]
    step = 0.1 * config.stale_motion * SPACING
    for _ in range(9):
        moved(model, slice(0, 100), step)
        assert objects(clouds, model)[0] is first
    for _ in range(3):
        moved(model, slice(0, 100), step)
        last = objects(clouds, model)[0]
    assert last is not first
    assert last.box.center[0] - first.box.center[0] >= config.stale_motion * SPACING * 0.99


def test_a_gaussian_that_goes_over_to_another_object_changes_both_where_it_weighs(model):
    clouds = ObjectClouds()
    before = objects(clouds, model)
    one, many = IDS.clone(), IDS.clone()
    one[0], many[:10] = 7, 7
    assert all(a is b for a, b in zip(objects(clouds, model, one), before, strict=True))
    assert all(a is not b for a, b in zip(objects(clouds, model, many), before, strict=True))


def test_a_new_name_or_record_keeps_the_cloud(model):
    clouds = ObjectClouds()
    before = objects(clouds, model)
    records = RECORDS | {7: replace(RECORDS[7], num_views=9)}
    cup, other = objects(clouds, model, records=records, names={4: "cup"})
    assert cup.label == "cup" and other.num_views == 9
    assert cup.points is before[0].points and other.points is before[1].points


def test_objects_without_a_record_or_a_shape_are_left_out_and_come_back(model):
    clouds = ObjectClouds()
    assert [each.id for each in objects(clouds, model, records={4: RECORDS[4]})] == [4]
    few = IDS.clone()
    few[3:100] = -1
    assert [each.id for each in objects(clouds, model, few)] == [7]
    assert [each.id for each in objects(clouds, model)] == [4, 7]
    np.testing.assert_array_equal(objects(clouds, model)[0].points, objects(ObjectClouds(), model)[0].points)
