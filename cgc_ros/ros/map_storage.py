"""Names of maps inside the one folder the node may read and write. Free of ROS."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIX = ".cgc"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class MapNameError(ValueError):
    """A name that does not stay inside the map directory, or that names no map."""


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

    def names(self) -> list[str]:
        """Maps that are there."""
        return sorted(each.name.removesuffix(SUFFIX) for each in self.path.glob(f"*{SUFFIX}"))

    def _inside(self, name: str) -> Path:
        name = name.removesuffix(SUFFIX)
        if not _NAME.fullmatch(name):
            raise MapNameError(
                f"map name {name[:120]!r} is refused: letters, digits, '.', '_' and '-' only, at most 100, beginning "
                "with a letter or digit; "
                f"it is a name inside {self.path}, not a path"
            )
        path = self.path / f"{name}{SUFFIX}"
        if path.is_symlink():
            raise MapNameError(
                f"map {name!r} is a symbolic link, which may lead out of {self.path}: replace it by the file"
            )
        return path
