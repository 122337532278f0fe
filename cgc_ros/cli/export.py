"""`cgc export`: a map for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgc_ros.cli.console import add_json, numbers, positive, print_json

if TYPE_CHECKING:
    from cgc_ros.mapping import Mapper


def add_parsers(subparsers) -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a map for other programs",
        description="A map for other programs: Gaussians as a standard 3DGS .ply or a .spz, objects as one point cloud "
        "each, what is occupied, free and unknown as voxels.",
    )
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="folder that `cgc map` wrote, or a saved map")
    parser.add_argument("--ply", metavar="FILE", type=Path, help="Gaussians, in the layout that splat viewers read")
    parser.add_argument("--spz", metavar="FILE", type=Path, help="the same, compressed to about a tenth")
    parser.add_argument(
        "--objects", metavar="DIR2", type=Path, help="one point cloud per object, labelled by its id, and objects.json"
    )
    parser.add_argument("--background", action="store_true", help="with --objects: floor, walls and table tops too")
    parser.add_argument(
        "--parts", action="store_true", help="with --objects: the parts of those objects, in DIR2/parts"
    )
    parser.add_argument(
        "--voxels", metavar="FILE", type=Path, help="what is occupied, free and unknown, and how far it is, as .npz"
    )
    parser.add_argument("--voxel-size", metavar="M", type=positive, default=0.01, help="metres (default: %(default)s)")
    parser.add_argument(
        "--box",
        type=numbers(6, "x0,y0,z0,x1,y1,z1"),
        metavar="X0,Y0,Z0,X1,Y1,Z1",
        help="with --voxels: metres (default: around the objects)",
    )
    parser.add_argument(
        "--ignore", type=_ids, default=(), metavar="ID,...", help="with --voxels: as if these objects were not there"
    )
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Write what was asked for."""
    if not (arguments.ply or arguments.spz or arguments.objects or arguments.voxels):
        arguments.usage_error("nothing to write: give --ply, --spz or --voxels FILE, or --objects DIR2, one or more")
    if (arguments.parts or arguments.background) and not arguments.objects:
        arguments.usage_error("--parts and --background belong to --objects DIR2")
    if (arguments.box or arguments.ignore) and not arguments.voxels:
        arguments.usage_error("--box and --ignore belong to --voxels FILE")

    from cgc_ros.evaluation.figures import write_json
    from cgc_ros.gaussians.ply import write_gaussian_ply
    from cgc_ros.gaussians.spz import write_gaussian_spz
    from cgc_ros.mapping.saved_map import open_map

    mapper = open_map(arguments.run_dir)
    written: dict[str, Any] = {}
    if arguments.ply:
        arguments.ply.parent.mkdir(parents=True, exist_ok=True)
        write_gaussian_ply(arguments.ply, mapper.model, mapper.origin)
        written |= {"ply": str(arguments.ply), "num_gaussians": len(mapper.model)}
    if arguments.spz:
        arguments.spz.parent.mkdir(parents=True, exist_ok=True)
        offset = write_gaussian_spz(arguments.spz, mapper.model, mapper.origin)
        written |= {"spz": str(arguments.spz), "spz_offset": offset.tolist(), "num_gaussians": len(mapper.model)}
    if arguments.objects:
        snapshot = mapper.snapshot()
        objects = [each for each in snapshot.objects if arguments.background or not each.background]
        records = {"objects": _write_clouds(arguments.objects, "", objects, mapper.origin)}
        if arguments.parts:
            whole = {each.id for each in objects}
            parts = [each for each in snapshot.parts if each.parent_id in whole]
            records["parts"] = _write_clouds(arguments.objects, "parts", parts, mapper.origin)
        write_json(arguments.objects / "objects.json", records)
        written |= {
            kind: [str(arguments.objects / record["file"]) for record in found] for kind, found in records.items()
        }
    if arguments.voxels:
        written |= _write_voxels(arguments, mapper)
    if arguments.json:
        print_json(written)
        return 0
    for path in filter(None, (arguments.ply, arguments.spz)):
        print(f"{path}: {written['num_gaussians']:,} Gaussians")
    if arguments.spz and written["spz_offset"] != mapper.origin.tolist():
        print(
            f"{arguments.spz}: positions are the map's own; its origin lies too far away, at {mapper.origin.tolist()}"
        )
    if arguments.objects:
        counts = [f"{len(written[kind])} {kind}" for kind in ("objects", "parts") if kind in written]
        print(f"{arguments.objects}: {', '.join(counts)}")
    if arguments.voxels:
        shares = ", ".join(f"{100 * share:.1f}% {name}" for name, share in written["shares"].items())
        print(f"{arguments.voxels}: {' x '.join(map(str, written['shape']))} voxels, {shares}")
    return 0


def _ids(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of object ids") from None


def _write_voxels(arguments: argparse.Namespace, mapper: Mapper) -> dict[str, Any]:
    import numpy as np

    from cgc_ros.space import FREE, OCCUPIED, UNKNOWN, SpaceError, space_of, write_voxels

    box = None if arguments.box is None else (np.array(arguments.box).reshape(2, 3) - mapper.origin).ravel().tolist()
    missing = sorted(set(arguments.ignore) - {each.id for each in mapper.snapshot().objects})
    if missing:
        raise SpaceError("unknown_object", f"the map has no object {missing[0]}: objects.json lists those there are")
    space = space_of(mapper, arguments.voxel_size, box)
    state = write_voxels(arguments.voxels, space, arguments.ignore, mapper.origin)
    named = {"occupied": OCCUPIED, "free": FREE, "unknown": UNKNOWN}
    return {
        "voxels": str(arguments.voxels),
        "shape": list(state.shape),
        "shares": {name: round(float((state == value).mean()), 4) for name, value in named.items()},
    }


def _write_clouds(folder: Path, subfolder: str, objects, origin) -> list[dict]:
    """One cloud per object (or part) in `folder / subfolder`; their records, with `file` relative to `folder`."""
    from cgc_ros.evaluation.run_output import object_record
    from cgc_ros.gaussians.ply import write_object_clouds

    paths = write_object_clouds(folder / subfolder, objects, origin)
    return [
        object_record(each, origin)
        | {"file": path.relative_to(folder).as_posix()}
        | ({"parent_id": each.parent_id} if each.parent_id else {})
        for each, path in zip(objects, paths, strict=True)
    ]
