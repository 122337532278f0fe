"""Text, JSON and matrices as recordings bring them: with byte-order marks, Windows paths, comments."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cgc_ros.sequences.base import SequenceError

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """A file's text in UTF-8, or in UTF-16 where it begins with that byte-order mark; marks are dropped."""
    if not path.is_file():
        raise SequenceError("missing_file", f"{path} is missing")
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SequenceError("bad_text", f"{path} is not {encoding} text ({error}): save it as UTF-8") from error


def read_json(path: Path) -> dict:
    """The JSON object in a file."""
    try:
        document = json.loads(read_text(path))
    except SequenceError:
        raise
    except ValueError as error:
        raise SequenceError("bad_json", f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise SequenceError("bad_json", f"{path} must hold a JSON object, not {type(document).__name__}")
    return document


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of each line that is neither empty nor a comment; commas count as blanks."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.replace(",", " ").split()
        if words and not words[0].startswith("#"):
            yield number, words


def numbers(words: list[str]) -> list[float] | None:
    """The words as floats; None where one is no number."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def read_matrix(path: Path) -> np.ndarray | None:
    """The rows of numbers in a file, [R, C] float64; None where it holds anything else.

    Nine, twelve or sixteen numbers on one line are a 3x3, 3x4 or 4x4 matrix.
    """
    try:
        rows = [numbers(words) for _, words in read_rows(path)]
    except SequenceError:
        return None
    values = [row for row in rows if row is not None]
    if not values or len(values) != len(rows) or any(len(row) != len(values[0]) for row in values):
        return None
    matrix = np.array(values, dtype=np.float64)
    shapes = {9: (3, 3), 12: (3, 4), 16: (4, 4)}
    return matrix.reshape(shapes[matrix.size]) if len(matrix) == 1 and matrix.size in shapes else matrix


def find_file(folder: Path, name: str) -> Path | None:
    """The file that `name` means: as written, else with Windows' backslashes, else where a path of another machine
    ends below `folder`.
    """
    for spelling in (name, name.replace("\\", "/")):
        if spelling and (folder / spelling).is_file():
            return folder / spelling
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not (name.startswith("/") or parts and parts[0].endswith(":")):
        return None
    ends = (folder.joinpath(*parts[start:]) for start in range(1, len(parts)))
    return next((path for path in ends if path.is_file()), None)
