"""The comments behind a config dataclass's fields, as texts, choices and ranges of ROS parameters."""

from __future__ import annotations

import inspect
import io
import re
import textwrap
import tokenize

_CHOICES = re.compile(r"^[\w]+( \| [\w]+)+$")


def field_comments(config: type) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Field name -> (text, choices), from `name: type = default  # comment` lines of the class body.

    A comment like `auto | cpu | cuda` is a list of choices; a field without a comment is described by its name.
    """
    source = textwrap.dedent(inspect.getsource(config))
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT
    }
    found = {}
    for number, line in enumerate(source.splitlines(), start=1):
        match = re.match(r"    (\w+)\s*:", line)
        if match:
            name, comment = match.group(1), comments.get(number, "")
            choices = tuple(comment.split(" | ")) if _CHOICES.match(comment) else ()
            found[name] = (name.replace("_", " ") if choices or not comment else comment, choices)
    return found


def range_of(name: str, default: object, text: str) -> tuple | None:
    """A range for a number of the mapper's config, by what its name says it is; None for what is not a number."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    if isinstance(default, int):
        return (0, 3) if name == "sh_degree" else (0, 100_000_000)
    is_share = "share" in name or "share of" in text or name.endswith(("opacity", "alpha", "_scale", "consensus", "containment"))
    if is_share and 0 <= default <= 1:
        return (0.0, 1.0)
    return (0.0, max(10.0, 100.0 * default))
