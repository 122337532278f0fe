"""Open a saved map to look at it, whatever settings it was made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cgc_ros.gaussians.storage import MapFileError, read_map
from cgc_ros.mapping import Mapper, MapperConfig, create_mapper
from cgc_ros.run_files import map_path


def open_map(run_dir: str | Path, backend: str = "auto") -> Mapper:
    """The mapper of a run's folder (or of a map file), set as the file asks. Raises RunError and MapFileError."""
    path = map_path(run_dir)
    _, info = read_map(path)
    config = MapperConfig(backend=backend)
    try:
        config = replace(
            config,
            recipe=info.get("recipe", "default"),
            sh_degree=int(info["sh_degree"]),
            paper=replace(config.paper, sh_degree=int(info["sh_degree"])),
            up=tuple(info["up"]),
            density=replace(config.density, max_gaussians=2**31 - 1),
            keyframes=replace(
                config.keyframes, max_keyframes=max(len(info["keyframes"]), config.keyframes.max_keyframes)
            ),
        )
        mapper = create_mapper(config)
    except (KeyError, TypeError, ValueError) as error:
        raise MapFileError(f"{path} lacks or garbles part of the map ({error}): restore it from a copy") from error
    mapper.restore(path)
    return mapper
