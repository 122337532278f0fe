"""A mapper to and from a map file: Gaussians, keyframes for replay, objects and their lasting ids."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from cgc_ros.frame import FrameError, Intrinsics, check_rigid
from cgc_ros.gaussians.model import FEATURE_DIM
from cgc_ros.gaussians.storage import MapFileError, read_map, write_map
from cgc_ros.mapping.corrections import KeyframeCorrections
from cgc_ros.mapping.keyframes import Keyframe
from cgc_ros.segmentation.memory import VoteMemory
from cgc_ros.segmentation.object_layer import ObjectRecord, ObjectState
from cgc_ros.segmentation.object_names import ObjectNames
from cgc_ros.segmentation.parts import PartRecord, PartState, no_parts

if TYPE_CHECKING:
    from cgc_ros.mapping.mapper import Mapper

JPEG_QUALITY = 95  # of keyframe images in the file
MASK_ARRAYS = ("masks", "part_masks")  # of objects, and of their parts where there are such
ROW_ARRAYS = ("uids", "born_step", "importance")


def save_mapper(mapper: Mapper, path: str | Path) -> None:
    """Write everything that mapping needs to go on; raises MapFileError."""
    model, layer = mapper.model, mapper.segmenter.layer
    arrays = {f"gaussians/{name}": value.detach().cpu().numpy() for name, value in model.parameters.items()}
    arrays |= {f"rows/{name}": getattr(model, name).cpu().numpy() for name in ROW_ARRAYS}
    arrays |= {
        "objects/uids": layer.state.uids,
        "objects/ids": layer.state.ids,
        "objects/confidence": layer.state.confidence,
        "objects/undecided": layer.state.undecided,
        "memory/uids": layer.memory.uids,
        "memory/objects": layer.memory.objects,
        "memory/weights": layer.memory.weights,
        "parts/uids": mapper.parts.layer.state.uids,
        "parts/ids": mapper.parts.layer.state.ids,
        "prototypes/ids": mapper.segmenter.prototype_ids,
        "prototypes/features": mapper.segmenter.prototypes.cpu().numpy(),
    }
    for object_id, members in layer.registry.members.items():
        arrays[f"members/{object_id}"] = members
    keyframes = []
    for keyframe in mapper.keyframes:
        keyframes.append(_keyframe_info(keyframe))
        arrays |= {f"keyframes/{keyframe.id}/{name}": value for name, value in _keyframe_arrays(keyframe).items()}
    info = {
        "recipe": mapper.config.recipe,
        "sh_degree": model.sh_degree,
        "next_uid": model.next_uid,
        "steps": mapper.steps,
        "scene_depth": mapper.scene_depth,
        "stamp_ns": mapper.stamp_ns,
        "next_keyframe_id": mapper.keyframes.next_id,
        "keyframes": keyframes,
        "next_object_id": layer.registry.next_id,
        "missing": layer.registry.missing,
        "first_seen": layer.first_seen,
        "memory_views": layer.memory.views,
        "memory_stamp_ns": layer.memory.stamp_ns,
        "objects": [asdict(record) for record in layer.state.records.values()],
        "parts": [asdict(record) for record in mapper.parts.layer.state.records.values()],
        "next_part_id": mapper.parts.layer.registry.next_id,
        "up": list(mapper.config.up),
        "background": model.background.tolist(),
    } | mapper.names.to_json()
    write_map(path, arrays, info)


def load_mapper(mapper: Mapper, path: str | Path) -> None:
    """Replace a mapper's map by a file's; on MapFileError the mapper is unchanged."""
    arrays, info = read_map(path)
    try:
        keyframes = [_read_keyframe(entry, arrays, mapper, int(info["steps"])) for entry in info["keyframes"]]
        parameters = {name: arrays[f"gaussians/{name}"] for name in mapper.model.parameters}
        rows = {name: arrays[f"rows/{name}"] for name in ROW_ARRAYS}
        parameters["sh"] = _harmonics(path, parameters["sh"], int(info["sh_degree"]), mapper.config.sh_degree)
        _check_gaussians(path, parameters, rows, mapper)
        records = {int(entry["id"]): ObjectRecord(**entry) for entry in info["objects"]}
        state = ObjectState(
            arrays["objects/uids"],
            arrays["objects/ids"],
            arrays["objects/confidence"],
            records,
            arrays["objects/undecided"],
        )
        memory = VoteMemory(
            arrays["memory/uids"],
            arrays["memory/objects"],
            arrays["memory/weights"],
            {int(key): int(value) for key, value in info["memory_views"].items()},
            int(info["memory_stamp_ns"]),
        )
        parts = _read_parts(arrays, info)
        next_part_id = int(info.get("next_part_id", 1))
        prototypes = _read_prototypes(arrays)
        background = _read_background(info)
        numbers = {
            name: info[name]
            for name in ("next_uid", "steps", "scene_depth", "stamp_ns", "next_keyframe_id", "next_object_id")
        }
        names = ObjectNames.from_json(info, mapper.config.names)
        missing = {int(key): int(value) for key, value in info["missing"].items()}
        first_seen = {int(key): int(value) for key, value in info["first_seen"].items()}
    except (KeyError, TypeError, ValueError, FrameError, cv2.error) as error:
        raise MapFileError(f"{path} lacks or garbles part of the map ({error}): restore it from a copy") from error

    mapper.reset()
    model, layer = mapper.model, mapper.segmenter.layer
    model.parameters = {name: torch.from_numpy(value.copy()).to(model.device) for name, value in parameters.items()}
    model.moments = {
        name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in model.parameters.items()
    }
    for name, value in rows.items():
        setattr(model, name, torch.from_numpy(value.copy()).to(model.device))
    model.next_uid, model.background = int(numbers["next_uid"]), background.to(model.device)
    layer.state, layer.first_seen, layer.memory = state, first_seen, memory
    mapper.parts.layer.restore(parts, next_part_id)
    mapper.segmenter.prototype_ids, mapper.segmenter.prototypes = prototypes[0], prototypes[1].to(model.device)
    layer.registry.next_id, layer.registry.missing = int(numbers["next_object_id"]), missing
    layer.registry.members = {
        int(key.split("/")[1]): value for key, value in arrays.items() if key.startswith("members/")
    }
    mapper.steps, mapper.scene_depth = int(numbers["steps"]), float(numbers["scene_depth"])
    mapper.stamp_ns, mapper.names = int(numbers["stamp_ns"]), names
    for keyframe, masks in keyframes:
        mapper.keyframes.keyframes[keyframe.id] = keyframe
        if masks is not None:
            mapper.add_masks(keyframe.id, masks)
    mapper.keyframes.next_id = int(numbers["next_keyframe_id"])


def _harmonics(path: str | Path, sh: np.ndarray, degree: int, wanted: int) -> np.ndarray:
    """A file's harmonics [N, (degree + 1)^2, 3] at the mapper's degree: bands the file lacks start at none."""
    if degree > wanted:
        raise MapFileError(
            f"{path} has spherical harmonics of degree {degree}, the mapper {wanted}: set sh_degree to {degree}"
        )
    if sh.shape[1:] != ((degree + 1) ** 2, 3):
        raise ValueError(f"sh has shape {sh.shape}, which is not of degree {degree}")
    return np.pad(sh, ((0, 0), (0, (wanted + 1) ** 2 - sh.shape[1]), (0, 0)))


def _check_gaussians(path: str | Path, parameters: dict, rows: dict, mapper: Mapper) -> None:
    count = len(rows["uids"])
    cap = mapper.config.density.max_gaussians
    if count > cap:
        raise MapFileError(f"{path} has {count} Gaussians, more than max_gaussians={cap}: raise the cap")
    for name, shape in mapper.model.row_shapes().items():
        if parameters[name].shape != (count, *shape) or not np.isfinite(parameters[name]).all():
            raise ValueError(f"{name} has shape {parameters[name].shape}, wanted {(count, *shape)} of finite numbers")
    if any(len(value) != count for value in rows.values()) or (np.diff(rows["uids"]) <= 0).any():
        raise ValueError("Gaussian ids are not unique and sorted")


def _read_parts(arrays: dict[str, np.ndarray], info: dict) -> PartState:
    """Parts of objects; none in files of before they were kept."""
    if "parts/uids" not in arrays:
        return no_parts()
    uids, ids = arrays["parts/uids"].copy(), arrays["parts/ids"].copy()
    if uids.shape != ids.shape or uids.ndim != 1:
        raise ValueError(f"parts have {uids.shape} Gaussians and {ids.shape} ids")
    return PartState(uids, ids, {int(entry["id"]): PartRecord(**entry) for entry in info["parts"]})


def _read_prototypes(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, torch.Tensor]:
    """Object ids [O] int64 and their features [O, 16]; none in files of before they were kept."""
    ids = arrays.get("prototypes/ids", np.zeros(0, np.int64))
    features = arrays.get("prototypes/features", np.zeros((0, FEATURE_DIM), np.float32))
    if features.shape != (len(ids), FEATURE_DIM) or not np.isfinite(features).all():
        raise ValueError(f"prototypes have shape {features.shape}, wanted {(len(ids), FEATURE_DIM)} of finite numbers")
    return ids.copy(), torch.from_numpy(features.copy())


def _read_background(info: dict) -> torch.Tensor:
    """Colour [3] behind everything; black in files of before it was kept."""
    background = torch.tensor(info.get("background", [0.0] * 3), dtype=torch.float32)
    if background.shape != (3,) or not ((background >= 0) & (background <= 1)).all():
        raise ValueError(f"the background {background.tolist()} is no colour: three numbers in 0..1")
    return background


def _keyframe_info(keyframe: Keyframe) -> dict:
    return {
        "id": keyframe.id,
        "stamp_ns": keyframe.stamp_ns,
        "name": keyframe.name,
        "intrinsics": asdict(keyframe.intrinsics),
        "median_depth": keyframe.median_depth,
        "depth_trust": keyframe.depth_trust,
        "born_step": keyframe.born_step,
        "steps": keyframe.steps,
        "loss": keyframe.loss if np.isfinite(keyframe.loss) else None,
    }


def _keyframe_arrays(keyframe: Keyframe) -> dict[str, np.ndarray]:
    ok, jpeg = cv2.imencode(".jpg", keyframe.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise MapFileError(f"keyframe {keyframe.name} could not be encoded")
    corrections = keyframe.corrections
    arrays = {
        "image": jpeg.ravel(),
        "pose": keyframe.world_from_camera,
        "corrections": torch.cat([corrections.log_gain, corrections.offset, corrections.twist]).detach().numpy(),
    }
    if keyframe.depth is not None:
        arrays["depth"] = keyframe.depth
    if keyframe.masks is not None:
        levels = keyframe.masks[None] if keyframe.masks.ndim == 2 else keyframe.masks
        for name, masks in zip(MASK_ARRAYS, levels, strict=False):
            arrays[name] = cv2.imencode(".png", masks.astype(np.uint16))[1].ravel()
    return arrays


def _read_keyframe(
    entry: dict, arrays: dict[str, np.ndarray], mapper: Mapper, steps: int
) -> tuple[Keyframe, np.ndarray | None]:
    """A keyframe and its masks; `steps` is the map's age in training steps."""
    prefix = f"keyframes/{entry['id']}/"
    intrinsics = Intrinsics(**(entry["intrinsics"] | {"distortion": tuple(entry["intrinsics"]["distortion"])}))
    image = cv2.imdecode(arrays[prefix + "image"], cv2.IMREAD_COLOR)
    size = (intrinsics.height, intrinsics.width)
    if image is None or image.shape[:2] != size:
        raise ValueError(f"image of keyframe {entry['id']} is unreadable or not {intrinsics.width}x{intrinsics.height}")
    pose = arrays[prefix + "pose"]
    check_rigid(pose)
    depth = arrays.get(prefix + "depth")
    levels = []
    for name in MASK_ARRAYS:
        if prefix + name in arrays:
            masks = cv2.imdecode(arrays[prefix + name], cv2.IMREAD_UNCHANGED)
            if masks is None or masks.shape != size:
                raise ValueError(f"{name} of keyframe {entry['id']} are unreadable or of another size")
            levels.append(masks.astype(np.int32))
    masks = None if not levels else levels[0] if len(levels) == 1 else np.stack(levels)
    corrections = KeyframeCorrections(mapper.config.training)
    values = torch.from_numpy(arrays[prefix + "corrections"].astype(np.float32))
    with torch.no_grad():
        corrections.log_gain.copy_(values[:3])
        corrections.offset.copy_(values[3:6])
        corrections.twist.copy_(values[6:12])
    keyframe = Keyframe(
        int(entry["id"]),
        int(entry["stamp_ns"]),
        str(entry["name"]),
        intrinsics,
        pose,
        np.ascontiguousarray(image[..., ::-1]),
        depth,
        float(entry["median_depth"]),
        corrections,
        depth_trust=float(entry["depth_trust"]),
        # Files of before it was kept: rates that have fallen once.
        born_step=int(entry.get("born_step", steps - mapper.config.training.settle_steps)),
        steps=int(entry["steps"]),
        loss=float("nan") if entry["loss"] is None else float(entry["loss"]),
    )
    return keyframe, masks
