"""Map files: whole or refused."""

import fcntl
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from cgc_ros.gaussians.storage import MapFileError, read_map, remove_unfinished, write_map

ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([1, 2, 3], dtype=np.int64)}


def test_what_is_written_is_read_back(tmp_path):
    write_map(tmp_path / "new" / "map.cgc", ARRAYS, {"steps": 7, "names": {"1": ["mug", 0.9]}})
    arrays, info = read_map(tmp_path / "new" / "map.cgc")
    assert info == {"steps": 7, "names": {"1": ["mug", 0.9]}}
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype
    assert os.listdir(tmp_path / "new") == ["map.cgc"]  # no temporary file stays


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255))
def test_any_changed_byte_is_noticed_or_harmless(tmp_path_factory, position, byte):
    path = tmp_path_factory.mktemp("maps") / "map.cgc"
    write_map(path, ARRAYS, {"steps": 7})
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= byte
    path.write_bytes(data)
    try:
        arrays, _ = read_map(path)
    except MapFileError as error:
        assert str(path) in str(error)
    else:  # the change fell into the header's JSON, not into the arrays
        for name, value in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, share):
    path = tmp_path / "map.cgc"
    write_map(path, ARRAYS, {})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(MapFileError, match="map.cgc"):
        read_map(path)


def test_foreign_missing_and_newer_files_are_named(tmp_path):
    with pytest.raises(MapFileError, match="no map file"):
        read_map(tmp_path / "none.cgc")
    save_file(ARRAYS, tmp_path / "foreign.cgc")
    with pytest.raises(MapFileError, match="not a map of this program"):
        read_map(tmp_path / "foreign.cgc")
    save_file(ARRAYS, tmp_path / "newer.cgc", metadata={"format": "cgc-map", "version": "99"})
    with pytest.raises(MapFileError, match="version 99"):
        read_map(tmp_path / "newer.cgc")


def test_an_unwritable_place_is_named_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "map.cgc"
    write_map(path, ARRAYS, {"steps": 1})
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(MapFileError, match="cannot write"):
        write_map(blocker / "map.cgc", ARRAYS, {})
    assert read_map(path)[1] == {"steps": 1}


def test_what_a_killed_write_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    left, written = tmp_path / ".kitchen.cgc.abc.part", tmp_path / ".garden.cgc.def.part"
    left.write_bytes(b"half a map")
    (tmp_path / "kitchen.cgc").write_bytes(b"a map")
    with written.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as write_map holds it
        assert remove_unfinished(tmp_path) == [left]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".garden.cgc.def.part", "kitchen.cgc"]
    assert remove_unfinished(tmp_path / "nowhere") == []


def test_a_file_is_locked_while_it_is_written(tmp_path, monkeypatch):
    removed = []
    monkeypatch.setattr(os, "fsync", lambda handle: removed.extend(remove_unfinished(tmp_path)))
    write_map(tmp_path / "map.cgc", {"a": np.zeros(3)}, {})
    assert removed == [] and read_map(tmp_path / "map.cgc")[0]["a"].shape == (3,)
