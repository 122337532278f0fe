"""The viewer's parts that need no browser: pacing, curves, picking, words, splats, crops."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from viewer_maps import SEQUENCE, mapper

from cgc_ros.mapping import MapObject, OrientedBox
from cgc_ros.mapping.object_crops import object_crops
from cgc_ros.palette import id_color
from cgc_ros.segmentation.object_names import clean_name
from cgc_ros.viewer.history import History, read_history
from cgc_ros.viewer.object_details import contact_sheet, outlined
from cgc_ros.viewer.pacing import Pace
from cgc_ros.viewer.picking import pick_object
from cgc_ros.viewer.saved import SavedMap
from cgc_ros.viewer.scene import box_edges
from cgc_ros.viewer.splats import SplatSet, tinted
from cgc_ros.viewer.text import object_html, row_text, size_text
from cgc_ros.viewer.views import session_views, view_pictures


def thing(object_id=7, center=(0.0, 0.0, 1.0), size=(0.1, 0.2, 0.3), background=False, label="", spacing=0.01):
    """An object whose cloud is a grid on the side of its box that faces the origin, along z."""
    x, y = (np.arange(-extent / 2, extent / 2 + 1e-9, spacing) for extent in size[:2])
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    points = np.column_stack([grid, np.full(len(grid), -size[2] / 2)]) + center
    box = OrientedBox(np.array(center, float), np.eye(3), np.array(size, float))
    colors = np.full(points.shape, 200, np.uint8)
    return MapObject(object_id, label, 1.0, 0.9, background, box, points.astype(np.float32), colors, 5, 0, 1)


@pytest.fixture(scope="module")
def saved():
    return SavedMap(mapper())


@pytest.fixture(scope="module")
def views(saved):
    return session_views(saved)


def test_a_task_waits_for_its_period_and_longer_the_more_it_costs():
    now, cpu = [100.0], [5.0]
    pace = Pace(2.0, 0.01, clock=lambda: now[0], cpu_clock=lambda: cpu[0])
    assert pace.due
    with pace:
        cpu[0] += 0.001  # 1% of 0.1 s: the period of 2 s is longer
    now[0] = 101.9
    assert not pace.due
    now[0] = 102.0
    assert pace.due
    with pace:
        cpu[0] += 0.05  # 1% of 5 s
    now[0] = 106.9
    assert not pace.due
    pace.hurry()
    assert pace.due


def test_curves_stay_bounded_evenly_spaced_and_start_with_the_first_sample():
    history = History(limit=64)
    for second in range(10_000):
        history.add(float(second), 5.0, float("nan") if second < 3 else 20.0)
    seconds, rates, psnrs = history.arrays()
    assert 32 <= len(seconds) <= 64 and seconds[0] == 3.0 and seconds[-1] > 9_000
    assert len(set(np.diff(seconds))) == 1
    assert (rates == 5.0).all() and (psnrs == 20.0).all()


def test_a_runs_curves_are_read_and_damaged_ones_are_none(tmp_path):
    file = tmp_path / "history.json"
    records = [{"t": t, "steps_per_second": 4.0, "train_psnr": psnr} for t, psnr in ((0, None), (1, 18.0), (2, 19.0))]
    file.write_text(json.dumps({"records": records}))
    assert read_history(file).samples == [(1.0, 4.0, 18.0), (2.0, 4.0, 19.0)]
    file.write_text('{"records": [{"t": ')
    assert read_history(file).samples == [] == read_history(tmp_path / "none.json").samples


def test_a_ray_picks_the_object_it_meets_first():
    near, far = thing(1, (0, 0, 1.0)), thing(2, (0.1, 0, 2.0), (0.4, 0.2, 0.3))
    forward = np.array([0.0, 0.0, 1.0])
    assert pick_object(np.zeros(3), forward, [far, near]) == 1
    aside = np.array([0.2, 0.0, 1.85]) / math.hypot(0.2, 1.85)  # past the near one's edge at x = 0.05
    assert pick_object(np.zeros(3), aside, [far, near]) == 2
    assert pick_object(np.zeros(3), -forward, [far, near]) is None
    assert pick_object(np.zeros(3), np.array([0.0, 1.0, 0.0]), [far, near]) is None


def test_a_thing_wins_over_background_just_in_front_of_it():
    cup = thing(1, (0, 0, 1.15))  # its cloud at 1.0 m
    table = thing(2, (0, 0, 1.13), (1.0, 1.0, 0.3), background=True)  # 2 cm before it
    wall = thing(3, (0, 0, 0.95), (1.0, 1.0, 0.3), background=True)  # 20 cm before it
    forward = np.array([0.0, 0.0, 1.0])
    assert pick_object(np.zeros(3), forward, [cup, table]) == 1
    assert pick_object(np.zeros(3), forward, [cup, wall]) == 3


def test_sizes_are_told_in_the_unit_that_reads_best():
    assert size_text(np.array([0.082, 0.19, 0.091])) == "19 × 9.1 × 8.2 cm"
    assert size_text(np.array([0.5, 2.0, 1.25])) == "2.00 × 1.25 × 0.50 m"
    assert row_text(thing(label="mug"), hidden=True) == "mug\n30 × 20 × 10 cm · 5 views · hidden"
    assert row_text(thing(12), hidden=False).startswith("object 12\n")
    voted = replace(thing(label="mug"), label_confidence=0.84)
    assert row_text(voted, hidden=False).endswith("· name 84 %")


def test_names_are_cleaned_and_never_become_markup():
    assert clean_name("  red\tmug \x00\n") == "red mug"
    assert len(clean_name("x" * 500)) == 80
    page = object_html(thing(label="<img src=x onerror=alert(1)>"))
    assert "<img" not in page and "&lt;img" in page


def test_a_box_has_twelve_edges_of_its_sizes():
    rotation = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    edges = box_edges(OrientedBox(np.array([1.0, 2.0, 3.0]), rotation, np.array([0.1, 0.2, 0.3])))
    lengths = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    np.testing.assert_allclose(sorted(lengths), [0.1] * 4 + [0.2] * 4 + [0.3] * 4)
    np.testing.assert_allclose(edges.reshape(-1, 3).mean(axis=0), [1.0, 2.0, 3.0])
    local = (edges - [1.0, 2.0, 3.0]) @ rotation
    np.testing.assert_allclose(np.abs(local), np.broadcast_to([0.05, 0.1, 0.15], local.shape), atol=1e-12)


def test_splats_carry_the_gaussians_shape_in_units_that_fit_half_precision(saved):
    snapshot = saved.snapshot
    splats = SplatSet.of(snapshot)
    model = snapshot.model
    axes = Rotation.from_quat(model.quats.numpy(), scalar_first=True).as_matrix() * model.scales.numpy()[:, None, :]
    expected = axes @ axes.transpose(0, 2, 1)
    np.testing.assert_allclose(splats.covariances * splats.unit**2, expected, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(splats.centers * splats.unit, model.means.numpy(), rtol=1e-5, atol=1e-6)
    variances = np.linalg.eigvalsh(splats.covariances.astype(np.float64))
    assert variances.max() < np.finfo(np.float16).max
    assert np.median(variances[:, 1]) > np.finfo(np.float16).smallest_normal


def test_of_too_many_splats_those_that_cover_most_are_kept(saved):
    model = saved.snapshot.model
    few = SplatSet.of(saved.snapshot, limit=100)
    longer = np.sort(model.scales.numpy(), axis=1)[:, 1:]
    rows = np.sort(np.argsort(-model.opacities.numpy() * longer.prod(axis=1), kind="stable")[:100])
    np.testing.assert_allclose(few.centers, model.means.numpy()[rows] / few.unit, rtol=1e-6)


def test_a_selection_keeps_its_colours_and_all_else_fades_to_grey(saved):
    splats = SplatSet.of(saved.snapshot)
    chosen = next(item.id for item in saved.snapshot.objects if not item.background)
    colors = splats.colors(by_object=False, selected=chosen, background=set())
    mine = splats.ids == chosen
    np.testing.assert_array_equal(colors[mine], splats.rgb[mine])
    assert (np.ptp(colors[~mine].astype(int), axis=1) == 0).all() and colors[~mine].min() >= 0.75 * 255 - 1


def test_tints_tell_objects_apart_and_leave_background_plain():
    grey = np.full((3, 3), 100, np.uint8)
    colors = tinted(grey, np.array([5, 6, -1]), background={6})
    np.testing.assert_allclose(colors[0], 0.6 * np.array(id_color(5)) + 40, atol=1)
    np.testing.assert_allclose(colors[1], 0.2 * np.array(id_color(6)) + 80, atol=1)
    assert np.ptp(colors[2].astype(int)) <= 2


def test_pictures_of_a_view_have_one_size_and_hidden_objects_stay_untinted(saved, views):
    view, snapshot = views.current, saved.snapshot
    image, render, overlay = view_pictures(view, snapshot, 64)
    assert image.shape == render.shape == overlay.shape == (48, 64, 3)
    labels = snapshot.segment(view.camera(64, snapshot))
    everything = {int(each) for each in np.unique(labels)}
    assert len(everything) > 2
    bare = view_pictures(view, snapshot, 64, everything)[2]
    np.testing.assert_array_equal(bare, image)
    assert np.abs(overlay.astype(int) - image).mean() > 10


def test_keyframes_come_with_pose_and_image(views):
    assert [view.name for view in views.keyframes] == [SEQUENCE[index].name for index in range(len(SEQUENCE))]
    difference = views.current.image.astype(int) - SEQUENCE[len(SEQUENCE) - 1].image
    assert np.abs(difference).mean() < 6  # saved maps hold keyframes as JPEG
    np.testing.assert_array_equal(views.current.world_from_camera, SEQUENCE[len(SEQUENCE) - 1].world_from_camera)
    assert views.current.vertical_fov == pytest.approx(2 * math.atan(120 / 2 / (0.9 * 160)))


def test_crops_show_the_object_in_their_middle(saved, views):
    red_box = min(
        (item for item in saved.snapshot.objects if not item.background),
        key=lambda item: np.linalg.norm(item.box.center - np.array([-0.30, 0.00, 0.10])),
    )
    crops = object_crops(red_box, views.keyframes, saved.snapshot, size=100)
    assert 2 <= len(crops) <= 4 and all(crop.picture.shape == (100, 100, 3) for crop in crops)
    for crop in crops:
        red, green, blue = crop.picture[40:60, 40:60].reshape(-1, 3).mean(axis=0)
        assert red > 1.8 * green and red > 1.8 * blue  # the solid's colour is (0.85, 0.25, 0.20)
        assert crop.mask[40:60, 40:60].mean() > 0.9 and not crop.mask[:5].any()
    assert contact_sheet([outlined(crop, red_box.id) for crop in crops[:2]]).shape == (100, 204, 3)


def test_a_stray_patch_does_not_make_the_object_small_in_its_crops(saved, views):
    thing_ = next(item for item in saved.snapshot.objects if not item.background)
    stray = np.tile(thing_.box.center + [0.5, 0.3, 0.4], (len(thing_.points) // 10, 1)).astype(np.float32)
    with_stray = replace(thing_, points=np.concatenate([thing_.points, stray]))
    plain = object_crops(thing_, views.keyframes, saved.snapshot)
    crops = object_crops(with_stray, views.keyframes, saved.snapshot)
    assert len(crops) == len(plain) > 0
    assert min(crop.mask.mean() for crop in crops) > 0.7 * min(crop.mask.mean() for crop in plain)


def test_no_crops_of_what_no_keyframe_shows(saved, views):
    item = saved.snapshot.objects[0]
    away = item.points + np.array([0.0, 0.0, 100.0], np.float32)
    assert object_crops(replace(item, points=away), views.keyframes, saved.snapshot) == []
