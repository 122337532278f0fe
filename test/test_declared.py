"""Declared settings: values that do not fit are refused in the same words wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cgc_ros.declared import (
    SettingError,
    Settings,
    choice,
    flag,
    group,
    nearest_name,
    nested,
    number,
    odd,
    override,
    text,
    walk,
)


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = number(0.5, "how often", 0, 10, "Hz")
    every: int = number(4, "steps", 1, 1_000)
    window: int = number(5, "side", 1, 9, "px", rule=odd)


@dataclass(frozen=True)
class Outer(Settings):
    backend: str = choice("auto", "what computes", ("auto", "cpu"))
    on: bool = flag(True, "whether it does")
    path: str = text("", "where", rule=lambda path: "" if not path.startswith("/") else "must be relative")
    up: tuple[float, float, float] = number((0.0, 0.0, 1.0), "vertical", -1, 1)
    inner: Inner = group(Inner)


REFUSED = [
    ("inner.rate", 10.5, "must be within 0..10 Hz, not 10.5"),
    ("inner.rate", float("nan"), "must be within 0..10 Hz, not nan"),
    ("inner.rate", "often", "must be a number, not 'often'"),
    ("inner.rate", True, "must be a number, not True"),
    ("inner.every", 2.5, "must be a whole number, not 2.5"),
    ("inner.every", float("inf"), "must be a whole number, not inf"),
    ("inner.every", 0, "must be within 1..1_000, not 0"),
    ("inner.window", 4, "must be odd, not 4"),
    ("backend", "tpu", "must be one of auto, cpu, not 'tpu'"),
    ("on", 1, "must be true or false, not 1"),
    ("path", 3, "must be text, not 3"),
    ("path", "/etc", "must be relative, not '/etc'"),
    ("up", [1, 2], r"must be 3 numbers, not \[1, 2\]"),
    ("up", "abc", "must be 3 numbers, not 'abc'"),
    ("up", [0, 0, 2], r"must be within -1..1, not 2"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_by_name(name, value, message):
    with pytest.raises(SettingError, match=rf"^{name}(\[2\])? {message}"):
        override(Outer(), nested({name: value}))


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_a_constructor_refuses_the_same(name, value, message):
    kind, (*_, last) = (Inner if "." in name else Outer), name.split(".")
    with pytest.raises(SettingError, match=rf"^{kind.__name__}.{last}(\[2\])? {message}"):
        kind(**{last: value})
    with pytest.raises(SettingError):
        replace(kind(), **{last: value})


def test_values_are_taken_in_the_fields_own_type():
    taken = override(Outer(), nested({"inner.rate": 3, "inner.every": 8.0, "up": [0, -1, 0], "path": Path("a")}))
    assert taken == Outer(up=(0.0, -1.0, 0.0), path="a", inner=Inner(3.0, 8))
    assert isinstance(taken.inner.rate, float) and isinstance(taken.inner.every, int)
    assert isinstance(override(Inner(), {"rate": np.float32(0.25)}).rate, float)
    assert override(Outer(), {}) == Outer()


def test_a_name_that_is_not_known_is_answered_with_the_nearest():
    with pytest.raises(SettingError, match=r"no setting inner\.rat: did you mean inner\.rate\?"):
        override(Outer(), nested({"inner.rat": 1}))
    with pytest.raises(SettingError, match=r"no setting windows: did you mean inner\.window\?"):
        override(Outer(), {"windows": 1})
    with pytest.raises(SettingError, match=r"no setting inner\.zzz: known here are rate, every, window"):
        override(Outer(), nested({"inner.zzz": 1}))
    assert nearest_name("xyz", ["label_rate"]) == ""


def test_a_group_is_no_value():
    with pytest.raises(SettingError, match="inner is a group of settings, got 3: set its members"):
        override(Outer(), {"inner": 3})


def test_settings_are_walked_by_dotted_name():
    assert [name for name, _, _ in walk(Outer())] == [
        *("backend", "on", "path", "up"),
        *("inner.rate", "inner.every", "inner.window"),
    ]


def test_a_refusal_does_not_show_a_value_of_any_length():
    with pytest.raises(SettingError) as refused:
        override(Outer(), {"backend": "x" * 10_000})
    assert len(str(refused.value)) < 200
