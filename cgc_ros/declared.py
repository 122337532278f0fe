"""Settings that declare themselves: default, text, range and unit stand once, at the field.

    @dataclass(frozen=True)
    class Rates(Settings):
        labels: float = number(5.0, "most label images; 0: no bound", 0, 1000, "Hz")

ROS parameters, config/cgc.yaml, the table in docs/ros_interface.md and `cgc map --set` are made from such fields, and a
value that does not fit is refused in the same words wherever it comes from, a constructor included.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar, cast

Config = TypeVar("Config")
#: What a value must be beyond its range, in words that follow the setting's name; empty where it is that.
Rule = Callable[[Any], str]

_SETTING = "setting"
_SHOWN = 120  # characters of a refused value


class SettingError(ValueError):
    """A setting that does not exist or a value that does not fit; the message names both and what would fit."""


@dataclass(frozen=True)
class Setting:
    """What a field says of its value."""

    default: Any  # its type is that of all values
    text: str
    limits: tuple[float, float] | None = None  # of numbers, both included
    unit: str = ""
    choices: tuple[str, ...] = ()
    rule: Rule | None = None

    def take(self, name: str, value: Any) -> Any:
        """`value` in the field's type, where nothing is lost by that; SettingError, naming `name`, where it does not
        fit.
        """
        if isinstance(self.default, tuple):
            taken = self._take_all(name, value)
        else:
            taken = self._take_one(name, value, self.default)
        unmet = self.rule(taken) if self.rule else ""
        if unmet:
            raise SettingError(f"{name} {unmet}, not {_shown(value)}")
        return taken

    @property
    def range_text(self) -> str:
        """`0.1..60 s`, or the choices; empty where any value fits."""
        if self.limits is None:
            return " | ".join(self.choices)
        low, high = (f"{each:_}" if isinstance(each, int) else f"{each:g}" for each in self.limits)
        return f"{low}..{high} {self.unit}".rstrip()

    def _take_all(self, name: str, value: Any) -> tuple:
        is_sequence = not isinstance(value, (str, bytes, Mapping)) and isinstance(value, Iterable)
        items = list(value) if is_sequence else []
        if len(items) != len(self.default):
            raise SettingError(f"{name} must be {len(self.default)} numbers, not {_shown(value)}")
        return tuple(
            self._take_one(f"{name}[{i}]", item, default)
            for i, (item, default) in enumerate(zip(items, self.default, strict=True))
        )

    def _take_one(self, name: str, value: Any, default: Any) -> Any:
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise SettingError(f"{name} must be true or false, not {_shown(value)}")
            return value
        if isinstance(default, str):
            return self._take_text(name, value)
        return self._take_number(name, value, type(default))

    def _take_text(self, name: str, value: Any) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise SettingError(f"{name} must be text, not {_shown(value)}")
        if self.choices and value not in self.choices:
            raise SettingError(f"{name} must be one of {', '.join(self.choices)}, not {_shown(value)}")
        return str(value)

    def _take_number(self, name: str, value: Any, kind: type) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise SettingError(f"{name} must be a number, not {_shown(value)}")
        if kind is int and value % 1 != 0:
            raise SettingError(f"{name} must be a whole number, not {_shown(value)}")
        low, high = self.limits or (-math.inf, math.inf)
        if not low <= float(value) <= high:
            raise SettingError(f"{name} must be within {self.range_text}, not {_shown(value)}")
        return kind(value)


class Settings:
    """Base of dataclasses of declared fields: values that do not fit are refused when one is made."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(cast(Any, self)):
            if _SETTING in each.metadata:
                setting_of(each).take(f"{type(self).__name__}.{each.name}", getattr(self, each.name))


def number(default, text: str, low: float, high: float, unit: str = "", *, rule: Rule | None = None, **notes):
    """A field for a number of the default's type, int or float, within `low`..`high`.

    A tuple is so many of them. Here as below, `notes` are further metadata of the field.
    """
    kind = type(default[0] if isinstance(default, tuple) else default)
    return _field(Setting(default, text, (kind(low), kind(high)), unit, rule=rule), notes)


def choice(default: str, text: str, choices: tuple[str, ...], **notes):
    """A field for one of some words."""
    return _field(Setting(default, text, choices=choices), notes)


def flag(default: bool, text: str, **notes):
    """A field for yes or no."""
    return _field(Setting(default, text), notes)


def text(default: str, text: str, *, rule: Rule | None = None, **notes):
    """A field for text: a name, a path."""
    return _field(Setting(default, text, rule=rule), notes)


def group(kind: type):
    """A field for a dataclass of further settings."""
    return field(default_factory=kind)


def odd(value: int) -> str:
    """A rule for `number`."""
    return "" if value % 2 else "must be odd"


def setting_of(declared: dataclasses.Field) -> Setting:
    """What a field made by the functions above says."""
    return declared.metadata[_SETTING]


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Every setting of a (nested) dataclass: its dotted name, field and value."""
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, each, value


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of a (nested) dataclass with the fields of `values` replaced; groups take nested mappings.

    Raises SettingError.
    """
    return _override(config, values, "", [name for name, _, _ in walk(config)])


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"training.ssim_weight": 0.3}` as `{"training": {"ssim_weight": 0.3}}`."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        branch = tree
        for each in groups:
            branch = branch.setdefault(each, {})
        branch[last] = value
    return tree


def nearest_name(name: str, known: Iterable[str]) -> str:
    """`did you mean density.max_gaussians?`, by the whole name, else by its last part; empty where nothing is near."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if not close:
        by_last = {each.rpartition(".")[2]: each for each in reversed(known)}
        close = [by_last[each] for each in difflib.get_close_matches(name.rpartition(".")[2], by_last, n=1, cutoff=0.8)]
    return f"did you mean {close[0]}?" if close else ""


def _override(config: Config, values: Mapping[str, Any], prefix: str, known: list[str]) -> Config:
    declared = {each.name: each for each in dataclasses.fields(cast(Any, config))}
    changes = {}
    for name, value in values.items():
        if name not in declared:
            hint = nearest_name(prefix + name, known) or f"known here are {', '.join(declared)}"
            raise SettingError(f"there is no setting {prefix}{name}: {hint}")
        current = getattr(config, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = setting_of(declared[name]).take(prefix + name, value)
        elif isinstance(value, Mapping):
            changes[name] = _override(current, value, f"{prefix}{name}.", known)
        else:
            raise SettingError(f"{prefix}{name} is a group of settings, got {_shown(value)}: set its members")
    return dataclasses.replace(cast(Any, config), **changes)


def _field(setting: Setting, notes: Mapping[str, Any]):
    return field(default=setting.default, metadata={_SETTING: setting, **notes})


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
