"""Parameters: one table, one file, refusals that say why."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cgc_ros.declared import SettingError, walk
from cgc_ros.mapping.config import MapperConfig
from cgc_ros.ros.parameters import NodeParameters, declarations, markdown_text, parameters_from, yaml_text

ROOT = Path(__file__).parents[1]


def flat(tree, prefix=""):
    for key, value in tree.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


def test_the_parameter_file_is_made_from_the_declarations():
    written = (ROOT / "config" / "cgc.yaml").read_text()
    assert written == yaml_text(), "run: python -m cgc_ros.ros.parameters yaml > config/cgc.yaml"


def test_the_file_holds_every_parameter_with_its_default_and_type():
    values = dict(flat(yaml.safe_load(yaml_text())["/**"]["ros__parameters"]))
    declared = {each.name: each.default for each in declarations()}
    assert values == declared
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in declared.items()
    }


def test_the_documentation_holds_the_table():
    document = (ROOT / "docs" / "ros_interface.md").read_text()
    assert markdown_text() in document, (
        "run: python -m cgc_ros.ros.parameters markdown, and put it into docs/ros_interface.md"
    )


def test_every_parameter_has_a_text_and_every_number_a_range():
    for each in declarations():
        words = each.name.rpartition(".")[2].replace("_", " ")
        assert len(each.setting.text) > 3 and each.setting.text != words, each.name
        if isinstance(each.default, int | float) and not isinstance(each.default, bool):
            assert each.setting.limits, each.name
        assert not each.refusal(each.default), each.name


def test_every_setting_of_the_mapper_is_read_somewhere():
    package = ROOT / "cgc_ros"
    sources = [path for path in package.rglob("*.py") if path.name != "config.py"]
    read = set(re.findall(r"\.(\w+)", "\n".join(path.read_text() for path in sources)))
    assert {name for name, _, _ in walk(MapperConfig()) if name.rpartition(".")[2] not in read} == set()


def test_values_become_the_dataclass_and_the_mappers_config():
    built = parameters_from({"label_rate": 7.0, "mapper.density.max_gaussians": 123, "mapper.up": [0.0, -1.0, 0.0]})
    assert built.label_rate == 7.0 and built.mapper.density.max_gaussians == 123 and built.mapper.up == (0.0, -1.0, 0.0)
    assert parameters_from({}) == NodeParameters() and parameters_from({}).mapper == MapperConfig()


def test_refusals_say_why():
    named = {each.name: each for each in declarations()}
    assert (
        named["image_transport"].refusal("telepathy")
        == "image_transport must be one of auto, raw, compressed, not 'telepathy'"
    )
    assert named["transform_timeout"].refusal(-1.0) == "transform_timeout must be within 0..10 s, not -1.0"
    assert "not '../kitchen'" in named["save_on_shutdown"].refusal("../kitchen")
    assert not named["save_on_shutdown"].refusal("kitchen") and not named["save_on_shutdown"].refusal("")
    assert "must name a frame" in named["map_frame"].refusal("/") and not named["map_frame"].refusal("odom")


@pytest.mark.parametrize("up", [(0.0, 0.0, 0.5), (1.0, 1.0, 0.0)])
def test_a_vertical_that_is_no_unit_vector_is_refused(up):
    with pytest.raises(SettingError, match="MapperConfig.up must have length 1"):
        replace(MapperConfig(), up=up)


@pytest.mark.parametrize("name", ["autostart", "map_frame", "label_rate"])
def test_when_a_change_takes_effect_is_stated(name):
    when = {each.name: each.when for each in declarations()}
    assert {"autostart": "at start", "map_frame": "on configure", "label_rate": "any time"}[name] == when[name]
