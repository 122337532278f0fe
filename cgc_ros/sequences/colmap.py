"""COLMAP reconstructions: the project's folder or one of its sparse models. Of several models the largest, with those
that share images with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cgc_ros.frame import Intrinsics
from cgc_ros.sequences.base import Sequence, SequenceError
from cgc_ros.sequences.colmap_files import ColmapImage, is_model, read_model
from cgc_ros.sequences.image_files import FrameFiles, beside, natural_order, read_mask
from cgc_ros.sequences.posed_files import PosedFiles
from cgc_ros.sequences.text_files import find_file

_MODEL_ROOTS = ("", "sparse", "colmap/sparse", "dense/sparse", "dense", "distorted/sparse")
_IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8")
_MAX_MISFIT = 0.02  # of the common cameras' spread, and in radians: so far may two models disagree and be joined


def recognises(path: Path) -> bool:
    return bool(_model_folders(path))


def read(
    path: Path,
    *,
    image_folder: str | Path | None = None,
    model: str | None = None,
    rate_hz: float = 5.0,
) -> Sequence:
    """Open a model folder or the project above it. Frames play in the order of their names; `rate_hz` makes their
    stamps.

    `image_folder`: where the images are, e.g. images_4; by default the first `images` folder at or above the model that
    has one of them, else images_2, _4 or _8. `model`: the sub-model's folder, by name; by default the largest and those
    that share at least two images with it, in its frame.
    """
    best, warnings = _chosen_model(path, model)
    folder = _image_folder(path, best.folder, [image.name for image in best.images], image_folder)
    posed = PosedFiles(best.folder, rate_hz)
    posed.warnings += warnings
    found = sorted(best.images, key=lambda image: natural_order(image.name))
    files = [_files(folder, image.name) for image in found]
    files, told = _ignored_where_binary(files)
    posed.warnings += told
    for image, paths in zip(found, files, strict=True):
        posed.add(image.name, paths, best.poses[image.name], partial(_camera, best, image))
    return posed.sequence(_name(best.folder), metric_scale=None)


@dataclass
class _Model:
    folder: Path
    cameras: dict[int, Intrinsics]
    images: list[ColmapImage]
    poses: dict[str, np.ndarray]  # by image name, world_from_camera [4, 4]

    @classmethod
    def read(cls, folder: Path) -> _Model:
        cameras, images = read_model(folder)
        return cls(folder, cameras, images, {image.name: image.world_from_camera() for image in images})


def _camera(model: _Model, image: ColmapImage) -> Intrinsics:
    if image.camera_id not in model.cameras:
        raise SequenceError(
            "bad_intrinsics", f"{model.folder}: image {image.name} has camera {image.camera_id}, which is not there"
        )
    return model.cameras[image.camera_id]


def _model_folders(path: Path) -> list[Path]:
    """Models at the first of the usual places that has any."""
    for root in (path / name for name in _MODEL_ROOTS):
        if is_model(root):
            return [root]
        if not root.is_dir():
            continue
        models = [child for child in root.iterdir() if is_model(child) and (root != path or child.name.isdigit())]
        if models:
            return sorted(models, key=lambda folder: natural_order(folder.name))
    return []


def _chosen_model(path: Path, chosen: str | None) -> tuple[_Model, list[str]]:
    folders = _model_folders(path)
    if chosen is not None:
        folders = [folder for folder in folders if folder.name == str(chosen)]
        if not folders:
            names = ", ".join(folder.name for folder in _model_folders(path))
            raise SequenceError("missing_file", f"{path} has no model {chosen!r}: say model= one of {names}")
    models = [_Model.read(folder) for folder in folders]
    best = max(models, key=lambda each: len(each.images))
    if not best.images:
        raise SequenceError("empty", f"{best.folder} holds no image: the reconstruction registered none")
    total, warnings = len(best.images), []
    for other in sorted((each for each in models if each is not best), key=lambda each: -len(each.images)):
        what = f"model {other.folder.name} ({len(other.images)} images)"
        if _join(best, other):
            warnings.append(f"{what} shares images with model {best.folder.name} and is read in its frame")
        else:
            warnings.append(
                f"{what} is left out: nothing says where it lies in model {best.folder.name} ({total} images); "
                f"model={other.folder.name} reads it, `colmap model_merger` may join them"
            )
    return best, warnings


def _join(model: _Model, other: _Model) -> bool:
    """Add the images of `other` to `model`, brought there by the similarity that the common images' poses show; False
    where there are fewer than two, or where they disagree.
    """
    common = [
        name
        for name, pose in other.poses.items()
        if name in model.poses and np.isfinite(pose).all() and np.isfinite(model.poses[name]).all()
    ]
    if len(common) < 2:
        return False
    here, there = (np.stack([each.poses[name] for name in common]) for each in (model, other))
    turns = here[:, :3, :3] @ there[:, :3, :3].transpose(0, 2, 1)
    left, _, right = np.linalg.svd(turns.sum(0))
    rotation = left @ right
    centred = [poses[:, :3, 3] - poses[:, :3, 3].mean(0) for poses in (here, there)]
    spread = float(np.linalg.norm(centred[0]))
    if spread == 0.0 or not centred[1].any():
        return False
    scale = spread / float(np.linalg.norm(centred[1]))
    shift = here[:, :3, 3].mean(0) - scale * rotation @ there[:, :3, 3].mean(0)
    misfit = np.linalg.norm(centred[0] - scale * centred[1] @ rotation.T) / spread
    if misfit > _MAX_MISFIT or np.abs(turns - rotation).max() > _MAX_MISFIT:
        return False
    first_id = 1 + max(model.cameras, default=0)
    renumbered = {camera_id: first_id + index for index, camera_id in enumerate(other.cameras)}
    model.cameras |= {renumbered[camera_id]: camera for camera_id, camera in other.cameras.items()}
    for image in other.images:
        if image.name not in model.poses:
            pose = other.poses[image.name].copy()
            pose[:3, :3] = rotation @ pose[:3, :3]
            pose[:3, 3] = scale * rotation @ pose[:3, 3] + shift
            model.poses[image.name] = pose
            model.images.append(
                ColmapImage(image.name, renumbered.get(image.camera_id, -1), image.quaternion_wxyz, image.translation)
            )
    return True


def _image_folder(path: Path, model: Path, names: list[str], chosen: str | Path | None) -> Path:
    above = (model.resolve(), *model.resolve().parents[:3])
    folders = [Path(chosen), path / chosen] if chosen else [each / name for name in _IMAGE_FOLDERS for each in above]
    for folder in folders:
        if any(find_file(folder, name) for name in names):
            return folder
    raise SequenceError(
        "missing_file",
        f"none of the {len(names)} images of {model} ({names[0]}, ...) is in {', '.join(map(str, folders[:4]))}: "
        "say image_folder=",
    )


def _files(folder: Path, name: str) -> FrameFiles | None:
    image = find_file(folder, name)
    return None if image is None else FrameFiles(image, masks=beside(folder.parent / "masks", name))


def _ignored_where_binary(files: list[FrameFiles | None]) -> tuple[list[FrameFiles | None], list[str]]:
    """Masks with one value beside zero in all images mark what to keep, as COLMAP's own and nerfstudio's do."""
    values: set[int] = set()
    some_masks = [paths.masks for paths in files if paths is not None and paths.masks is not None]
    for mask in some_masks:
        try:
            values |= set(np.unique(read_mask(mask)).tolist())
        except SequenceError:
            continue  # named when its frame is loaded
        if len(values) > 2:
            return files, []
    folders = {paths.image.parent.parent / "masks" for paths in files if paths is not None}
    if not some_masks and any(folder.is_dir() for folder in folders):
        return files, ["masks/ has no .png with an image's name: left out"]
    if not some_masks or 0 not in values:
        return files, []
    kept = [None if paths is None else FrameFiles(paths.image, keep=paths.masks) for paths in files]
    shown = " and ".join(map(str, sorted(values)))
    return kept, [f"masks/ holds only {shown} in all {len(some_masks)} images: pixels of 0 are ignored, not one object"]


def _name(model: Path) -> str:
    """Of the project that a model belongs to."""
    skipped = {"sparse", "colmap", "dense", "distorted"}
    folders = (model.resolve(), *model.resolve().parents)
    return next((each.name for each in folders if not each.name.isdigit() and each.name not in skipped), "colmap")
