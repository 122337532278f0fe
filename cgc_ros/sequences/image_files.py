"""Sequences whose frames are image files on disk, and how those files are read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from cgc_ros.image_size import depth_at_size, same_aspect
from cgc_ros.sequences.base import FrameInfo, Sequence, SequenceError, example_of
from cgc_ros.sequences.depth_files import MILLIMETRE, describe, read_depth, read_pixels
from cgc_ros.sequences.text_files import find_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_PLAIN_FORMATS = {"JPEG": ".jpg", "PNG": ".png"}
_ORIENTATION = 0x0112  # EXIF's tag, which some decoders obey
_OPAQUE = 128  # of 255: pixels below it are transparent, whatever colour hides there


@dataclass(frozen=True)
class FrameFiles:
    """Where the pixels of one frame are; None where there are none."""

    image: Path
    depth: Path | None = None
    masks: Path | None = None
    instances: Path | None = None
    ignore: Path | None = None  # nonzero = not part of the world
    keep: Path | None = None  # the other way round, as nerfstudio's mask_path: zero = not part of the world


class FileSequence(Sequence):
    """A sequence over one image file a frame.

    `depth_scale`: metres per unit of depth stored as integers; `float_depth_scale`: as floats; `depth_unit` overrides
    both. Images scaled down against their intrinsics scale those, depth of another aspect is left out; both are told.
    """

    def __init__(
        self,
        name: str,
        frames: list[FrameInfo],
        files: list[FrameFiles],
        *,
        depth_scale: float = MILLIMETRE,
        float_depth_scale: float = 1.0,
        depth_unit: float | None = None,
        warnings: tuple[str, ...] = (),
        **options,
    ):
        if depth_unit is not None and not (np.isfinite(depth_unit) and depth_unit > 0):
            raise SequenceError(
                "bad_option", f"depth_unit={depth_unit:g}: give metres per unit of the stored depth, e.g. 0.0002"
            )
        pictures = [_Picture.of(paths.image) for paths in files]
        frames, told = _fitted_intrinsics(frames, pictures)
        files, left_out = _fitting_depth(files, pictures)
        super().__init__(
            name,
            frames,
            has_depth=any(paths.depth for paths in files),
            has_masks=any(paths.masks for paths in files),
            has_ignore=any(
                paths.ignore or paths.keep or picture.has_alpha for paths, picture in zip(files, pictures, strict=True)
            ),
            warnings=(*warnings, *told, *left_out),
            **options,
        )
        self.files = tuple(files)
        self.depth_scales = (depth_scale, float_depth_scale) if depth_unit is None else (depth_unit, depth_unit)
        self._has_alpha = tuple(picture.has_alpha for picture in pictures)

    def load_image(self, index: int) -> np.ndarray:
        return read_image(self.files[index].image)

    def stored_picture(self, index: int) -> tuple[str, bytes] | None:
        path = self.files[index].image
        try:
            with Image.open(path) as image:
                plain = image.mode in ("RGB", "L") and image.getexif().get(_ORIENTATION, 1) == 1
                suffix = _PLAIN_FORMATS.get(image.format) if plain and not self._has_alpha[index] else None
        except (OSError, ValueError):
            return None
        return None if suffix is None else (suffix, path.read_bytes())

    def load_depth(self, index: int) -> np.ndarray | None:
        path = self.files[index].depth
        return None if path is None else read_depth(path, *self.depth_scales)

    def load_masks(self, index: int) -> np.ndarray | None:
        path = self.files[index].masks
        return None if path is None else read_labels(path)

    def load_ignore(self, index: int) -> np.ndarray | None:
        """What the ignore mask, the mask of pixels to keep and the image's own transparency say together."""
        paths = self.files[index]
        found = []
        if paths.ignore is not None:
            found.append(read_mask(paths.ignore) != 0)
        if paths.keep is not None:
            found.append(read_mask(paths.keep) == 0)
        if self._has_alpha[index]:
            found.append(read_alpha(paths.image) < _OPAQUE)
        if not found:
            return None
        size = found[-1].shape[::-1]
        return np.any([self._at_size(index, each, size) for each in found], axis=0)

    def load_instances(self, index: int) -> np.ndarray | None:
        path = self.files[index].instances
        return None if path is None else read_labels(path)

    def _at_size(self, index: int, ignore: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        fitted = depth_at_size(ignore, *size)
        if fitted is None:
            raise SequenceError("ignore_mismatch", self._other_aspect("ignore mask", index, ignore, size))
        return fitted


@dataclass(frozen=True)
class _Picture:
    """What an image file's header says; size None where it cannot be read."""

    size: tuple[int, int] | None  # width, height
    has_alpha: bool = False

    @classmethod
    def of(cls, path: Path) -> _Picture:
        try:
            with Image.open(path) as image:
                return cls(image.size, image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info)
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
            return cls(None)


def _fitted_intrinsics(frames: list[FrameInfo], pictures: list[_Picture]) -> tuple[list[FrameInfo], list[str]]:
    """Intrinsics of the images' own size, where theirs has the same aspect; a frame of another aspect is named when it
    is loaded.
    """
    fitted: list[FrameInfo] = []
    scaled: Counter[tuple[tuple[int, int], tuple[int, int]]] = Counter()
    for info, picture in zip(frames, pictures, strict=True):
        size = (info.intrinsics.width, info.intrinsics.height)
        if picture.size is not None and picture.size != size and same_aspect(picture.size, size):
            scaled[(size, picture.size)] += 1
            info = replace(info, intrinsics=info.intrinsics.scaled_to(*picture.size))
        fitted.append(info)
    return fitted, [
        f"{count} images are {image[0]}x{image[1]}, their intrinsics are for {size[0]}x{size[1]}: intrinsics are scaled"
        for (size, image), count in scaled.items()
    ]


def _fitting_depth(files: list[FrameFiles], pictures: list[_Picture]) -> tuple[list[FrameFiles], list[str]]:
    """Without the depth images of another aspect than their picture's."""
    kept, others = [], []
    for paths, picture in zip(files, pictures, strict=True):
        depth = None if paths.depth is None else picture_size(paths.depth)
        if paths.depth and depth and picture.size and not same_aspect(depth, picture.size):
            others.append((paths.depth.name, depth, picture.size))
            paths = replace(paths, depth=None)
        kept.append(paths)
    if not others:
        return kept, []
    names, (_, depth, image) = example_of([name for name, *_ in others]), others[0]
    return kept, [
        f"{len(others)} depth images ({names}) have another aspect, {depth[0]}x{depth[1]}, than their images' "
        f"{image[0]}x{image[1]}, so they show another view: left out; give depth registered to the colour camera"
    ]


def read_image(path: Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB. Orientation tags are ignored: calibrations are made on the pixels as stored."""
    return cv2.cvtColor(read_pixels(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)


def read_alpha(path: Path) -> np.ndarray:
    """[H, W] uint8 opacity; 255 where the image has none."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA").getchannel("A"))


def read_mask(path: Path) -> np.ndarray:
    """[H, W], of which only zero and nonzero mean something; the first channel of a picture."""
    values = read_pixels(path, cv2.IMREAD_UNCHANGED)
    return values if values.ndim == 2 else values[..., 0]


def read_labels(path: Path) -> np.ndarray:
    """[H, W] int32 from an 8 or 16 bit one-channel image."""
    values = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise SequenceError("bad_labels", f"label image {path} is {describe(values)}: store one channel of 16 bit ids")
    return values.astype(np.int32)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height by an image file's header; None where it cannot be read."""
    return _Picture.of(path).size


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, frame 9 before frame 10."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(
        (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=lambda file: natural_order(file.name)
    )


def find_image(folder: Path, name: str) -> Path | None:
    """The file of a name that may lack its suffix, or be written on another machine (`find_file`)."""
    names = (name, *(name + suffix for suffix in _SUFFIX_SPELLINGS))
    return next((path for each in names if (path := find_file(folder, each))), None)


def beside(folder: Path, image_name: str) -> Path | None:
    """The .png (or .npy, .exr) in `folder` with an image's name, its suffix replaced or kept."""
    name = image_name.replace("\\", "/")
    paths = [(folder / name).with_suffix(suffix) for suffix in (".png", ".npy", ".exr")]
    return next((path for path in (*paths, folder / f"{name}.png") if path.is_file()), None)


def frame_name(image_name: str) -> str:
    """A name fit for an output file: images/left/0001.jpg -> left_0001 (a leading "images" says nothing)."""
    parts = _parts(image_name)
    return "_".join(parts[1:] if len(parts) > 1 and parts[0].startswith("images") else parts)


def frame_names(image_names: list[str]) -> list[str]:
    """One name each, fit for output files; those that would be equal say more of their folders, suffixes, or count."""
    short = [frame_name(name) for name in image_names]
    long = ["_".join(_parts(name)) for name in image_names]
    full = [f"{name}_{Path(image).suffix[1:]}" for name, image in zip(long, image_names, strict=True)]
    times = {spelling: Counter(names) for spelling, names in (("short", short), ("long", long), ("full", full))}
    taken: set[str] = set()
    names = []
    for spellings in zip(short, long, full, strict=True):
        counted = zip(spellings, times.values(), strict=True)
        name = next((text for text, count in counted if count[text] == 1 and text not in taken), spellings[-1])
        number, unique = 2, name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        names.append(unique)
    return names


def _parts(image_name: str) -> list[str]:
    path = Path(image_name.replace("\\", "/"))
    return [part for part in path.with_suffix("").parts if part not in (".", "..", "/")]


_SUFFIX_SPELLINGS = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))


def natural_order(name: str) -> tuple:
    """Sort key under which image9 comes before image10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))
