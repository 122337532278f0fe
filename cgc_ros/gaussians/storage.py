"""Map files: safetensors with a JSON header. Nothing in them can run code, and a damaged one is refused by name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

FORMAT = "cgc-map"
VERSION = 1
PART_SUFFIX = ".part"  # of a map that is being written


class MapFileError(ValueError):
    """A map file that cannot be read or written; the message names the file, what is wrong, and the remedy."""


class SavedState(NamedTuple):
    """What one component of a map puts into its file, and finds there again."""

    arrays: dict[str, np.ndarray]
    info: dict  # JSON-able

    def below(self, prefix: str) -> SavedState:
        """The same with `prefix` before every name."""
        return SavedState(*({prefix + name: value for name, value in part.items()} for part in self))

    def within(self, prefix: str) -> SavedState:
        """What lies below a prefix, without it: `below`'s inverse."""
        return SavedState(
            *({key[len(prefix) :]: value for key, value in part.items() if key.startswith(prefix)} for part in self)
        )

    @staticmethod
    def joined(parts: Iterable[SavedState]) -> SavedState:
        """All in one; ValueError where two use one name."""
        arrays: dict[str, np.ndarray] = {}
        info: dict[str, object] = {}
        for part in parts:
            for whole, more in ((arrays, part.arrays), (info, part.info)):
                if twice := whole.keys() & more.keys():
                    raise ValueError(f"two components of the map save {sorted(twice)}: give one another name")
                whole.update(more)
        return SavedState(arrays, info)


def write_map(path: str | Path, arrays: dict[str, np.ndarray], info: dict) -> None:
    """Write `arrays` and the JSON-able `info` atomically: a temporary file beside `path`, then a rename."""
    path = Path(path)
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "sha256": _digest(arrays), "info": json.dumps(info)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART_SUFFIX)
        try:
            with os.fdopen(handle, "wb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)  # until it is closed: it is being written (`remove_unfinished`)
                stream.write(save(arrays, metadata=metadata))
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MapFileError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error


def remove_unfinished(folder: Path) -> list[Path]:
    """Delete the temporary files of writes that were killed; those deleted. What is being written is left alone."""
    removed = []
    for path in sorted(folder.glob(f".*{PART_SUFFIX}")):
        try:
            with path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:  # written at this moment, or not ours to delete
            continue
        removed.append(path)
    return removed


def read_map(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and info of a map file; raises MapFileError where it is missing, foreign, damaged or newer."""
    path = Path(path)
    if not path.is_file():
        raise MapFileError(f"no map file at {path}: check the path, or save a map first")
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise MapFileError(f"{path} is not a map of this program (format {metadata.get('format')!r})")
            if metadata.get("version") != str(VERSION):
                raise MapFileError(
                    f"{path} has map version {metadata.get('version')}, known here is {VERSION}: update the program"
                )
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError) as error:
        raise MapFileError(f"{path} is damaged or not a map file ({error}): restore it from a copy") from error
    if _digest(arrays) != metadata.get("sha256"):
        raise MapFileError(f"{path} is damaged (its checksum does not match): restore it from a copy")
    try:
        info = json.loads(metadata.get("info", ""))
    except json.JSONDecodeError as error:
        raise MapFileError(f"{path} is damaged (its header is not JSON: {error}): restore it from a copy") from error
    return arrays, info


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(f"{name}:{value.dtype.str}:{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
