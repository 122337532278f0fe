"""Names of maps inside the one folder the node may read and write. Free of ROS."""

from __future__ import annotations

import re
from pathlib import Path

from cgc_ros.gaussians.storage import remove_unfinished

SUFFIX = ".cgc"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAME_RULE = "a map's name has letters, digits, '.', '_' and '-' only, at most 100, and begins with a letter or digit"


class MapNameError(ValueError):
    """A name that does not stay inside the map directory, or that names no map."""


def is_map_name(name: str) -> bool:
    """Whether a map can have this name, with or without ".cgc"."""
    return _NAME.fullmatch(name.removesuffix(SUFFIX)) is not None


class MapDirectory:
    """`path` is made at the first save; "~" is the home folder."""

    def __init__(self, path: str):
        self.path = Path(path).expanduser().resolve()

    def to_save(self, name: str) -> Path:
        """The file of this name; the folder exists afterwards (OSError where it cannot be made)."""
        path = self._inside(name)
        self.path.mkdir(parents=True, exist_ok=True)
        return path

    def to_load(self, name: str) -> Path:
        """The existing file of this name."""
        path = self._inside(name)
        if not path.is_file():
            raise MapNameError(
                f"there is no map {name!r} in {self.path}; there are: {', '.join(self.names()) or 'none'}"
            )
        return path

    def remove_unfinished(self) -> list[Path]:
        """Delete what saves left that were killed, and return it. Files that are being written are left alone."""
        return remove_unfinished(self.path)

    def names(self) -> list[str]:
        """Maps that are there."""
        return sorted(each.name.removesuffix(SUFFIX) for each in self.path.glob(f"*{SUFFIX}"))

    def _inside(self, name: str) -> Path:
        if not is_map_name(name):
            raise MapNameError(
                f"map name {name[:120]!r} is refused: {NAME_RULE}; it is a name inside {self.path}, not a path"
            )
        path = self.path / f"{name.removesuffix(SUFFIX)}{SUFFIX}"
        if path.is_symlink():
            raise MapNameError(
                f"map {name!r} is a symbolic link, which may lead out of {self.path}: replace it by the file"
            )
        return path
