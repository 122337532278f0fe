"""A map to and from its file: each component gives and takes its own state, and the file is all of them or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cgc_ros.frame import FrameError
from cgc_ros.gaussians.storage import MapFileError, SavedState, read_map, write_map


def save_map(path: str | Path, states: Iterable[SavedState]) -> None:
    """Write the states of a map's components as one file, whole or not at all; raises MapFileError."""
    write_map(path, *SavedState.joined(states))


def load_map(path: str | Path, restore: Callable[[SavedState], None]) -> None:
    """Hand a file's state to `restore`, which takes from it what each component needs.

    Raises MapFileError where the file cannot be read, or where `restore` finds that it lacks or garbles something.
    """
    state = SavedState(*read_map(path))
    try:
        restore(state)
    except MapFileError as error:
        raise MapFileError(f"{path} {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, FrameError) as error:
        raise MapFileError(f"{path} lacks or garbles part of the map ({error}): restore it from a copy") from error
