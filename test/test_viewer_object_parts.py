"""An object's parts: on the page, in what it exports, and in `cgc export`."""

import io
import json
import zipfile

import numpy as np
import open3d
import pytest
from viewer_maps import mapper

from cgc_ros import cli
from cgc_ros.palette import id_color
from cgc_ros.segmentation.parts import PartRecord, PartState
from cgc_ros.viewer import SavedMap
from cgc_ros.viewer.object_details import object_file, part_of_points, parts_of
from cgc_ros.viewer.splats import SplatSet
from cgc_ros.viewer.text import object_html

PART_IDS = (21, 22)


@pytest.fixture(scope="module")
def saved():
    """A saved map whose largest thing is cut in two across its middle."""
    source = SavedMap(mapper())
    cut = max((item for item in source.snapshot.objects if not item.background), key=lambda item: len(item.points))
    model, object_ids = source.mapper.model, source.snapshot.object_ids.numpy()
    low = model.means.numpy()[:, 2] < cut.box.center[2]
    ids = np.where(object_ids == cut.id, np.where(low, *PART_IDS), -1).astype(np.int32)
    records = {part_id: PartRecord(part_id, cut.id, 0.9, 5, 0, 1) for part_id in PART_IDS}
    source.mapper.parts.layer.adopt(PartState(model.uids.numpy(), ids, records), next_id=23)
    source.change(lambda mapper: None)
    return source


@pytest.fixture(scope="module")
def cut(saved):
    """The object that has parts."""
    return max((item for item in saved.snapshot.objects if not item.background), key=lambda item: len(item.points))


def test_only_the_object_that_is_cut_has_parts(saved, cut):
    for item in saved.snapshot.objects:
        assert [part.id for part in parts_of(item.id, saved.snapshot)] == (list(PART_IDS) if item.id == cut.id else [])
    assert parts_of(None, saved.snapshot) == () == parts_of(cut.id, None)


def test_the_selected_object_shows_its_parts_with_their_colours_and_sizes(saved, cut):
    page = object_html(cut, parts_of(cut.id, saved.snapshot))
    assert page.count("cgc-dot") == 2 and "<td>parts</td>" in page
    assert all(f"#{bytes(id_color(part_id)).hex()}" in page for part_id in PART_IDS)
    assert "<td>parts</td>" not in object_html(cut)


def test_points_of_the_cloud_go_to_the_nearest_part_within_reach(saved, cut):
    parts = parts_of(cut.id, saved.snapshot)
    points = np.concatenate([cut.points[::40], cut.points[:3] + np.float32(10)])
    gaps = np.stack([np.linalg.norm(points[:, None] - part.points, axis=2).min(axis=1) for part in parts], axis=1)
    reach = float(np.median(gaps.min(axis=1))) + 1e-3
    owners = part_of_points(points, parts, reach, none=cut.id)
    expected = np.where(gaps.min(axis=1) < reach, np.array(PART_IDS)[gaps.argmin(axis=1)], cut.id)
    tied = np.abs(gaps[:, 0] - gaps[:, 1]) < 1e-6
    np.testing.assert_array_equal(owners[~tied], expected[~tied])
    assert set(PART_IDS) < set(owners.tolist()) and (owners[-3:] == cut.id).all()
    assert (part_of_points(points, (), reach, none=cut.id) == cut.id).all()


def test_splats_of_the_selected_object_are_coloured_by_part(saved, cut):
    splats = SplatSet.of(saved.snapshot)
    whole, chosen = (splats.colors(True, selected, set()).astype(int) for selected in (None, cut.id))
    for part_id in PART_IDS:
        rows = (splats.ids == cut.id) & (splats.part_ids == part_id)
        assert rows.sum() > 20
        shift = chosen[rows] - whole[rows]  # 0.6 of the difference of the two tints
        expected = 0.6 * (np.array(id_color(part_id)) - id_color(cut.id))
        np.testing.assert_allclose(shift, np.broadcast_to(expected, shift.shape), atol=1.5)
    plain = splats.colors(False, cut.id, set())
    np.testing.assert_array_equal(plain[splats.ids == cut.id], splats.rgb[splats.ids == cut.id])


def test_an_object_with_parts_is_exported_as_one_archive(saved, cut, tmp_path):
    parts = parts_of(cut.id, saved.snapshot)
    name, content = object_file(cut, parts)
    assert name == f"{cut.id:04d}.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [f"{cut.id:04d}.ply", "parts/0021.ply", "parts/0022.ply"]
        archive.extractall(tmp_path)
    for part in parts:
        cloud = open3d.t.io.read_point_cloud(str(tmp_path / "parts" / f"{part.id:04d}.ply"))
        np.testing.assert_allclose(cloud.point.positions.numpy(), part.points, atol=1e-6)
        assert (cloud.point.label.numpy() == part.id).all()
    assert object_file(cut)[0] == f"{cut.id:04d}.ply"


def test_cgc_export_writes_parts_where_they_are_asked_for(saved, cut, tmp_path, capsys):
    saved.mapper.save(tmp_path / "map.cgc")
    out = tmp_path / "clouds"
    assert cli.main(["export", str(tmp_path / "map.cgc"), "--objects", str(out), "--parts"]) == 0
    things = sum(not item.background for item in saved.snapshot.objects)
    assert f"{things} objects, 2 parts" in capsys.readouterr().out
    records = json.loads((out / "objects.json").read_text())
    assert [(part["id"], part["parent_id"], part["file"]) for part in records["parts"]] == [
        (part_id, cut.id, f"parts/{part_id:04d}.ply") for part_id in PART_IDS
    ]
    for part in records["parts"]:
        assert len(open3d.t.io.read_point_cloud(str(out / part["file"])).point.positions) == part["num_points"]
    assert cli.main(["export", str(tmp_path / "map.cgc"), "--objects", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / "parts").exists()
