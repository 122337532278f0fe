"""Moving a mapper to another device leaves nothing behind."""

import pytest
import torch

from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.mapping import MapperConfig, create_mapper
from cgc_ros.mapping.keyframes import KeyframeStore

SHARED = (KeyframeStore,)  # images and corrections stay in the machine's memory on any device


def held(thing: object, seen: set[int]):
    """Everything that an object of this package reaches by its attributes."""
    if id(thing) in seen or isinstance(thing, SHARED):
        return
    seen.add(id(thing))
    yield thing
    if isinstance(thing, dict):
        parts = thing.values()
    elif isinstance(thing, list | tuple):
        parts = thing
    else:
        parts = vars(thing).values() if type(thing).__module__.startswith("cgc_ros.") else ()
    for part in parts:
        yield from held(part, seen)


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_no_component_stays_behind(recipe):
    mapper = create_mapper(MapperConfig(backend="cpu", recipe=recipe))
    mapper.add_frame(SyntheticSequence(num_frames=2, width=80, height=60)[0])
    mapper.to(torch.device("meta"), "elsewhere")
    things = list(held(mapper, set()))
    tensors = [each for each in things if isinstance(each, torch.Tensor)]
    assert len(tensors) > 10
    assert {each.device.type for each in tensors} == {"meta"}
    backends = [vars(each)["backend"] for each in things if "backend" in getattr(each, "__dict__", {})]
    assert len(backends) >= 5 and set(backends) - {mapper.config.backend} == {"elsewhere"}
    devices = [each for each in things if isinstance(each, torch.device)]
    assert {each.type for each in devices} == {"meta"}
