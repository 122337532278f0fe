"""MapperConfig from a file and from `--set NAME=VALUE`: every field by its own name, checked against its own type."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

Config = TypeVar("Config")


class SettingError(ValueError):
    """A setting that does not exist or does not fit; the message names it and what would fit."""


def override(config: Config, values: Mapping[str, object], prefix: str = "") -> Config:
    """A copy of a (nested) dataclass with the fields of `values` replaced; nested dataclasses take nested mappings."""
    types = typing.get_type_hints(type(config))
    changes = {}
    for name, value in values.items():
        if name not in types:
            known = ", ".join(field.name for field in dataclasses.fields(config))
            raise SettingError(f"there is no setting {prefix}{name}: known here are {known}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise SettingError(f"{prefix}{name} is a group of settings, got {value!r}: set its members")
            changes[name] = override(current, value, f"{prefix}{name}.")
        else:
            changes[name] = _convert(prefix + name, value, types[name], current)
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:  # a dataclass that checks itself
        raise SettingError(str(error)) from error


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
    return values


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
        group[last] = yaml.safe_load(text)
    return values


def describe(config: object, prefix: str = "") -> list[tuple[str, str]]:
    """Every setting and its value, by dotted name."""
    rows: list[tuple[str, str]] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            rows += describe(value, f"{prefix}{field.name}.")
        else:
            rows.append((prefix + field.name, str(value)))
    return rows


def _convert(name: str, value: object, wanted: object, current: object) -> object:
    """`value` as the type `wanted`, where nothing is lost by it."""
    origin = typing.get_origin(wanted)
    if origin is tuple and isinstance(value, (list, tuple)) and len(value) == len(current):
        return tuple(
            _convert(f"{name}[{i}]", item, type(old), old)
            for i, (item, old) in enumerate(zip(value, current, strict=True))
        )
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is int and isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return int(value)
    if wanted is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError:
            pass
    if wanted is str and isinstance(value, str):
        return value
    kind = getattr(wanted, "__name__", str(wanted))
    raise SettingError(f"{name} must be {kind}, got {value!r}: its default is {current!r}")
