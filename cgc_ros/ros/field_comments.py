"""The comments behind a config dataclass's fields, as texts, choices and ranges of ROS parameters."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass

_CHOICES = re.compile(r"(?:^|; )(\w+(?: \| \w+)+)$")
_RANGE = re.compile(r"(?:^|[,;] )(-?[\d.]+?)\.\.(-?[\d.]+)$")


@dataclass(frozen=True)
class FieldComment:
    """What a field's comment says."""

    text: str  # the field's name in words where it has no comment
    choices: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


def field_comments(config: type) -> dict[str, FieldComment]:
    """By field name, from `name: type = default  # text; choice | choice` or `# text, 0..3` in the class body."""
    source = textwrap.dedent(inspect.getsource(config))
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            lines = range(node.lineno, node.end_lineno + 1)
            comment = " ".join(comments[line] for line in lines if line in comments)
            found[node.target.id] = _parsed(node.target.id, comment)
    return found


def _parsed(name: str, comment: str) -> FieldComment:
    words = name.replace("_", " ")
    choices, limits = _CHOICES.search(comment), _RANGE.search(comment)
    if choices:
        return FieldComment(comment[: choices.start()] or words, tuple(choices[1].split(" | ")))
    if limits:
        return FieldComment(comment[: limits.start()] or words, (), (float(limits[1]), float(limits[2])))
    return FieldComment(comment or words)


def range_of(name: str, default: object, comment: FieldComment) -> tuple | None:
    """A range for a number of the mapper's config: its comment's, else by what its name says; None for other types."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    if comment.limits:
        return tuple(map(type(default), comment.limits))
    if isinstance(default, int):
        return (0, 100_000_000)
    shares = ("opacity", "alpha", "_scale", "consensus", "containment", "purity", "likeness")
    is_share = "share" in name or "share of" in comment.text or name.endswith(shares)
    if is_share and 0 <= default <= 1:
        return (0.0, 1.0)
    return (0.0, max(10.0, 100.0 * default))
