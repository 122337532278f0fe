"""The mapper beside a world that changes: an object that is taken away leaves the map, and nothing else does."""

from dataclasses import replace

import numpy as np
import pytest

from cgc_ros.evaluation import synthetic
from cgc_ros.evaluation.synthetic import SOLIDS, SyntheticSequence
from cgc_ros.mapping import Mapper, MapperConfig, SegmentationConfig

FRAMES = 16
TAKEN = SOLIDS[0]  # the red box


def config(mode):
    base = MapperConfig(backend="cpu", sh_degree=0, segmentation=SegmentationConfig(cluster_every=6))
    return replace(base, change=replace(base.change, mode=mode))


def play(mapper, start_s, solids, monkeypatch, steps=5):
    """The camera walks its arc once around what stands there."""
    monkeypatch.setattr(synthetic, "SOLIDS", solids)
    sequence = SyntheticSequence(num_frames=FRAMES)
    for index in range(FRAMES):
        frame = sequence[index]
        mapper.add_frame(replace(frame, stamp_ns=frame.stamp_ns + round(start_s * 1e9)))
        for _ in range(steps):
            mapper.step()


def near(objects, solid):
    """Those whose middle lies within a solid."""
    return [each for each in objects if (np.abs(each.box.center - solid.center) < solid.half).all()]


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A map file of all solids."""
    mapper = Mapper(config("depth"))
    with pytest.MonkeyPatch.context() as patch:
        play(mapper, 0.0, SOLIDS, patch)
    path = tmp_path_factory.mktemp("change") / "before.cgc"
    mapper.save(path)
    return path


def test_an_object_that_is_taken_away_leaves_the_map_at_once_and_keeps_its_id(before, tmp_path, monkeypatch):
    mapper = Mapper.load(before, config("depth"))
    (known,) = near(mapper.snapshot().objects, TAKEN)
    play(mapper, 10.0, SOLIDS[1:], monkeypatch)
    mapper.save(tmp_path / "after.cgc")
    for snapshot in (mapper.snapshot(), Mapper.load(tmp_path / "after.cgc", config("depth")).snapshot()):
        (event,) = snapshot.history.events
        assert (event.kind, event.id) == ("removed", known.id)
        assert (np.abs(event.position - known.box.center) < 0.02).all()
        assert [(each.id, each.state) for each in snapshot.absent] == [(known.id, "gone")]
        assert not near(snapshot.objects, TAKEN) and known.id not in {each.id for each in snapshot.objects}
        for solid in SOLIDS[2:]:  # the small ones
            assert near(snapshot.objects, solid)
    assert event.stamp_ns <= 11_000_000_000 + 4 * 200_000_000  # among the first five frames without it


@pytest.mark.parametrize("mode", ["depth", "off"])
def test_a_world_that_stays_as_it_is_has_no_events(before, monkeypatch, mode):
    mapper = Mapper.load(before, config(mode))
    ids = {each.id for each in mapper.snapshot().objects}
    play(mapper, 10.0, SOLIDS, monkeypatch, steps=3)
    snapshot = mapper.snapshot()
    assert not snapshot.history.events and not snapshot.absent
    assert ids <= {each.id for each in snapshot.objects}
