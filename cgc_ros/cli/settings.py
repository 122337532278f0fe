"""Settings of MapperConfig from a file and from `--set NAME=VALUE`, as nested values for `declared.override`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cgc_ros.declared import SettingError, walk

#: What YAML 1.1 reads as text for want of a point: 1e-3.
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def read_settings(path: Path) -> dict:
    """A YAML or JSON file of settings, nested as MapperConfig is."""
    import yaml

    try:
        text = Path(path).expanduser().read_text()
        values = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} is not readable as settings ({error}): write YAML or JSON, e.g. training: {{ssim_weight: 0.2}}"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingError(
            f"{path} holds a {type(values).__name__}, wanted names with values, e.g. training: {{ssim_weight: 0.2}}"
        )
    return _numbers(values)


def parse_assignments(assignments: Iterable[str]) -> dict:
    """`["training.ssim_weight=0.3"]` as nested dicts."""
    import yaml

    values: dict = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise SettingError(f"--set {assignment}: wanted NAME=VALUE, e.g. training.ssim_weight=0.3")
        *groups, last = name.strip().split(".")
        group = values
        for part in groups:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise SettingError(
                    f"--set {assignment}: {part} is set to a value elsewhere, and is no group of settings"
                )
        group[last] = _numbers(yaml.safe_load(text))
    return values


def describe(config: object) -> list[tuple[str, str]]:
    """Every setting and its value, by dotted name."""
    return [(name, str(value)) for name, _, value in walk(config)]


def _numbers(value: Any) -> Any:
    """What YAML gave, with numbers like 1e-3 as numbers."""
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
