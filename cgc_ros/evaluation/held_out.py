"""Scores of a map on the views it has never been shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from cgc_ros.evaluation.cameras import OnDevice, frame_camera
from cgc_ros.evaluation.figures import write_json
from cgc_ros.evaluation.image_metrics import depth_errors, floating, psnr, ssim
from cgc_ros.evaluation.label_metrics import InstanceScore, SceneSegmentation, mean_iou
from cgc_ros.evaluation.object_metrics import ObjectLike, match_tolerance, object_average_precision, object_match_ious
from cgc_ros.evaluation.view_images import clear_pngs, depth_millimetres, error_picture, write_png
from cgc_ros.frame import Frame
from cgc_ros.ignored_pixels import mark_ignored
from cgc_ros.rendering import Camera
from cgc_ros.run_files import RunError
from cgc_ros.sequences import Sequence, SequenceError

SCORES_FILE = "scores.json"
PICTURE_WIDTH = 400  # pixels: of the copies kept for the report


class Snapshot(OnDevice, Protocol):
    """What of a MapSnapshot evaluation uses."""

    @property
    def num_gaussians(self) -> int: ...

    @property
    def objects(self) -> tuple[ObjectLike, ...]: ...

    def render(self, camera: Camera, stamp_ns: int | None = None):
        """A ViewRender, in the exposure that the camera had at that time."""
        ...

    def segment(self, camera: Camera) -> np.ndarray:
        """Object ids [H, W] uint16, 65535 unlabelled."""
        ...


@dataclass(frozen=True)
class ViewScore:
    """One held-out view: its scores, and small copies of its images (at most 400 pixels across) for the report."""

    name: str
    psnr: float
    psnr_without_exposure: float
    ssim: float
    depth_median_error_m: float | None
    recorded: np.ndarray  # [h, w, 3] uint8 RGB
    rendered: np.ndarray  # [h, w, 3] uint8 RGB
    error: np.ndarray  # [h, w, 3] uint8 RGB
    labels: np.ndarray  # [h, w] uint16, 65535 = unlabelled, 65534 = ignored
    truth: np.ndarray | None  # [h, w] int32, 0 = unlabelled


@dataclass(frozen=True)
class InstanceReport:
    """One ground-truth instance, for the report's table."""

    id: int
    name: str
    kind: str  # object | background
    iou: float
    boundary_iou: float
    predicted_id: int | None
    pixels: int
    cloud_iou: float | None  # best 3D IoU with any object that is not background


@dataclass
class Evaluation:
    """All figures of one map on one recording."""

    metrics: dict[str, object]  # contract keys that evaluation can know, and a few more
    views: list[ViewScore] = field(default_factory=list)
    instances: list[InstanceReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def evaluate(
    snapshot: Snapshot,
    sequence: Sequence,
    out_dir: Path,
    *,
    converged: Snapshot | None = None,
    on_view: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Render and segment every held-out view, score them, and write images from which anyone can recompute the scores.

    Writes `out_dir/render/NAME.png` (8-bit RGB), `out_dir/labels/NAME.png` (16 bit, 65535 unlabelled, 65534 ignored:
    not scored), `out_dir/depth/NAME.png` (16 bit, millimetres, 0 unknown) and `out_dir/scores.json`. `converged`: a map
    of the same world whose depth tells what floats before the scene.
    `on_view(done, total)` reports progress.
    Raises RunError where the recording holds out no view, SequenceError where none of them can be read.
    """
    held_out = [index for index in range(len(sequence)) if sequence.is_held_out(index)]
    if not held_out:
        raise RunError(
            f"{sequence.name} has {len(sequence)} frames and holds none out: "
            "record at least 8 frames, or list some in heldout.txt"
        )
    for folder in ("render", "labels", "depth"):
        clear_pngs(out_dir / folder)

    tally = _Tally(converged)
    for done, index in enumerate(held_out):
        on_view(done, len(held_out))
        try:
            frame = sequence[index]
            truth = None if sequence.truth is None else sequence.truth.instances(index)
        except SequenceError as error:
            tally.unreadable.append(str(error))
            continue
        if frame.ignore is not None and frame.ignore.all():
            tally.unreadable.append(f"{sequence.name}, frame {frame.name!r}: all of it is ignored")
            continue
        tally.score(snapshot, frame, truth, out_dir)
    on_view(len(held_out), len(held_out))
    if not tally.views:
        raise SequenceError(
            "unreadable", f"none of the {len(held_out)} held-out frames can be read; first: {tally.unreadable[0]}"
        )

    evaluation = _summarise(tally, snapshot, sequence)
    write_json(
        out_dir / SCORES_FILE,
        {
            "views": [
                {
                    "name": view.name,
                    "psnr": view.psnr,
                    "psnr_without_exposure": view.psnr_without_exposure,
                    "ssim": view.ssim,
                    "depth_median_error_m": view.depth_median_error_m,
                }
                for view in evaluation.views
            ],
            "instances": [vars(instance) for instance in evaluation.instances],
        },
    )
    return evaluation


@dataclass
class _Tally:
    """Sums over the views scored so far."""

    converged: Snapshot | None = None
    views: list[ViewScore] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    segmentation: SceneSegmentation = field(default_factory=SceneSegmentation)
    depth_absolute: list[np.ndarray] = field(default_factory=list)
    depth_shares: list[np.ndarray] = field(default_factory=list)
    depth_measured: int = 0
    segment_ms: list[float] = field(default_factory=list)
    floating: int = 0  # pixels, of
    converged_pixels: int = 0

    def score(self, snapshot: Snapshot, frame: Frame, truth: np.ndarray | None, out_dir: Path) -> None:
        camera = frame_camera(frame, snapshot)
        view = snapshot.render(camera, frame.stamp_ns)  # its neighbours in time tell the exposure
        start = time.perf_counter()
        labels = snapshot.segment(camera)
        self.segment_ms.append(1000 * (time.perf_counter() - start))
        labels = mark_ignored(labels, frame.ignore)

        name = file_name(frame.name or str(frame.stamp_ns))
        write_png(out_dir / "render" / f"{name}.png", view.color)
        write_png(out_dir / "labels" / f"{name}.png", labels)
        write_png(out_dir / "depth" / f"{name}.png", depth_millimetres(view.depth))

        median_error = None
        if frame.depth is not None:
            known = frame.depth if frame.ignore is None else np.where(frame.ignore, np.float32(0), frame.depth)
            absolute, shares, measured = depth_errors(view.depth, known)
            self.depth_absolute.append(absolute.astype(np.float32))
            self.depth_shares.append(shares.astype(np.float32))
            self.depth_measured += measured
            median_error = float(np.median(absolute)) if len(absolute) else None
        if self.converged is not None:
            number, comparable = floating(view.depth, self.converged.render(frame_camera(frame, self.converged)).depth)
            self.floating, self.converged_pixels = self.floating + number, self.converged_pixels + comparable
        if truth is not None:
            self.segmentation.add(truth, labels)
        self.views.append(
            ViewScore(
                name,
                psnr(view.color, frame.image, frame.ignore),
                psnr(snapshot.render(camera).color, frame.image, frame.ignore),
                ssim(view.color, frame.image, frame.ignore),
                median_error,
                _small(frame.image),
                _small(view.color),
                _small(error_picture(view.color, frame.image, frame.ignore)),
                _small(labels),
                None if truth is None else _small(truth),
            )
        )


def _summarise(tally: _Tally, snapshot: Snapshot, sequence: Sequence) -> Evaluation:
    metrics: dict[str, object] = {
        "psnr": float(np.mean([view.psnr for view in tally.views])),
        "psnr_without_exposure": float(np.mean([view.psnr_without_exposure for view in tally.views])),
        "ssim": float(np.mean([view.ssim for view in tally.views])),
        "scene_miou": None,
        "scene_mbiou": None,
        "ap50": None,
        "ap25": None,
        "depth_median_error_m": None,
        "depth_median_error_share": None,
        "depth_coverage": None,
        "floating_share": tally.floating / tally.converged_pixels if tally.converged_pixels else None,
        "num_objects": sum(not candidate.background for candidate in snapshot.objects),
        "num_gaussians": int(snapshot.num_gaussians),
        "num_views_scored": len(tally.views),
        "label_idle_ms_p50": float(np.percentile(tally.segment_ms, 50)),
    }
    if tally.depth_measured:
        absolute, shares = np.concatenate(tally.depth_absolute), np.concatenate(tally.depth_shares)
        metrics["depth_coverage"] = len(absolute) / tally.depth_measured
        if len(absolute):
            metrics["depth_median_error_m"] = float(np.median(absolute))
            metrics["depth_median_error_share"] = float(np.median(shares))
    instances: list[InstanceReport] = []
    truth = sequence.truth
    if truth is not None and tally.segmentation.masks.views:
        object_ids = {instance for instance, (_, kind) in truth.labels.items() if kind == "object"}
        masks, boundaries = tally.segmentation.masks.match(), tally.segmentation.boundaries.match()
        metrics["scene_miou"], metrics["scene_mbiou"] = mean_iou(masks, object_ids), mean_iou(boundaries, object_ids)
        cloud_ious = {}
        points = {key: cloud for key, cloud in (truth.object_points or {}).items() if key in object_ids}
        if points:
            tolerance = match_tolerance(points.values(), sequence.metric_scale)
            metrics["ap50"], metrics["ap25"] = object_average_precision(snapshot.objects, points, tolerance)
            cloud_ious = object_match_ious(snapshot.objects, points, tolerance)
        instances = [
            _instance_report(
                key,
                score,
                boundaries.get(key),
                truth.labels.get(key, (f"instance {key}", "background")),
                cloud_ious.get(key),
            )
            for key, score in masks.items()
        ]
    return Evaluation(metrics, tally.views, instances, tally.unreadable)


def _instance_report(
    key: int,
    score: InstanceScore,
    boundary: InstanceScore | None,
    label: tuple[str, str],
    cloud_iou: float | None,
) -> InstanceReport:
    boundary_iou = boundary.iou if boundary else 0.0
    return InstanceReport(key, *label, score.iou, boundary_iou, score.predicted_id, score.pixels, cloud_iou)


def _small(image: np.ndarray) -> np.ndarray:
    """A copy at most PICTURE_WIDTH across: colours averaged, ids by nearest neighbour."""
    if image.shape[1] <= PICTURE_WIDTH:
        return image.copy()
    size = (PICTURE_WIDTH, max(1, round(image.shape[0] * PICTURE_WIDTH / image.shape[1])))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST)


def file_name(frame_name: str) -> str:
    """A frame's name as a file name: folders inside a recording become part of it."""
    return frame_name.replace("/", "_").replace("\\", "_")
