"""The calibration of a recording, judged by its own posed frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cgc_ros.calibration.judgement import Judgement, judge
from cgc_ros.calibration.matches import FeatureFinder, Features, Matches, matched
from cgc_ros.calibration.model import CalibrationModel, Observations
from cgc_ros.calibration.views import PosedViews, Trajectory, chosen_frames, partner_pairs
from cgc_ros.errors import ReasonError
from cgc_ros.frame import Frame, Intrinsics
from cgc_ros.image_size import scaled_frame

_FEWEST_FRAMES, _FEWEST_PAIRS = 6, 6
_MAX_TURN_DEG = 10.0  # between neighbours, as a median: else poses between them are anybody's guess
_MAX_ROUGHNESS = 0.4  # of what a pose is turned from its neighbours' middle to the turn between them


@dataclass(frozen=True)
class Effort:
    """How much is looked at."""

    views: int = 64
    features: int = 1500
    matches: int = 40  # of a pair
    width: int = 960  # images are looked at no wider than this, pixels


#: For a word of warning before mapping.
QUICK = Effort(views=24, features=800, matches=30, width=640)


@dataclass(frozen=True)
class PosedFrames:
    """A recording. `load(i)`: frame i, of a pinhole camera; raises ReasonError where it cannot be read."""

    poses: np.ndarray  # [N, 4, 4] world_from_camera
    stamps_s: np.ndarray | None  # [N]; None where they are made up
    load: Callable[[int], Frame]


@dataclass(frozen=True)
class CalibrationCheck:
    """What a recording's frames say about its calibration. Without a `judgement`, `reason` says why they do not."""

    judgement: Judgement | None
    reason: str
    camera: Intrinsics | None  # the first of those that were looked at, as given
    width: int  # that images were looked at with: the judgement's pixels
    frames: int
    pairs: int
    matches: int
    has_depth: bool
    has_time: bool


def check_frames(
    recording: PosedFrames,
    effort: Effort | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CalibrationCheck:
    """Judge the calibration. Cheap where there is little to see; `on_progress(done, total)` counts frames and pairs."""
    effort = effort or Effort()
    chosen = chosen_frames(recording.poses, effort.views)
    if len(chosen) < _FEWEST_FRAMES:
        return _unknown(f"{len(recording.poses)} frames are too few")
    pairs = partner_pairs(recording.poses[chosen])
    total = len(chosen) + len(pairs)
    finder = FeatureFinder(effort.features)
    features: dict[int, Features] = {}
    views: dict[int, Intrinsics] = {}
    depths: dict[int, np.ndarray] = {}
    given = None
    for view, index in enumerate(chosen):
        on_progress(view, total)
        try:
            frame = recording.load(int(index))
        except ReasonError:
            continue
        given = given or frame.intrinsics
        frame = scaled_frame(frame, effort.width)
        features[view], views[view] = finder.features(frame.image, frame.ignore), frame.intrinsics
        depths[view] = _depth_at(frame, features[view].points)
    parts, part_depths = [], []
    for count, (one, other) in enumerate(pairs):
        on_progress(len(chosen) + count, total)
        if one not in features or other not in features:
            continue
        found = matched(int(one), int(other), features[one], features[other], effort.matches)
        if found is not None:
            parts.append(found.matches)
            part_depths.append(depths[one][found.rows])
    if len(parts) < _FEWEST_PAIRS or given is None:
        return _unknown(f"of {len(pairs)} pairs of frames only {len(parts)} have matches", len(views))
    order = np.array(sorted(views))
    matches = Matches.joined(parts)
    matches = Matches(
        np.searchsorted(order, matches.first),
        np.searchsorted(order, matches.second),
        matches.points_first,
        matches.points_second,
    )
    rows = chosen[order]
    stamps = recording.stamps_s
    posed = PosedViews(
        tuple(views[view] for view in order),
        recording.poses[rows],
        np.zeros(len(rows)) if stamps is None else stamps[rows],
    )
    trajectory, px_per_s = _trajectory(recording, posed)
    observations = Observations(matches, np.concatenate(part_depths))
    judgement = judge(CalibrationModel(posed, observations, trajectory), px_per_s)
    return CalibrationCheck(
        judgement,
        "",
        given,
        posed.intrinsics[0].width,
        len(rows),
        len(parts),
        len(matches),
        bool((observations.depths > 0).any()),
        trajectory is not None,
    )


def _unknown(reason: str, frames: int = 0) -> CalibrationCheck:
    return CalibrationCheck(None, reason, None, 0, frames, 0, 0, False, False)


def _trajectory(recording: PosedFrames, posed: PosedViews) -> tuple[Trajectory | None, float]:
    """The path, where poses between the given ones can be told, and how fast the image moves, pixels/s."""
    stamps = recording.stamps_s
    if stamps is None or len(np.unique(stamps)) < _FEWEST_FRAMES:
        return None, 0.0
    trajectory = Trajectory(stamps, recording.poses)
    missed, turned = trajectory.roughness_deg()
    if turned > _MAX_TURN_DEG or missed > _MAX_ROUGHNESS * turned:
        return None, 0.0
    speed = np.radians(turned) / float(np.median(np.diff(trajectory.times)))
    return trajectory, float(speed * posed.focals().mean())


def _depth_at(frame: Frame, points: np.ndarray) -> np.ndarray:
    """[N] depth at pixels [N, 2]; 0 unknown."""
    if frame.depth is None:
        return np.zeros(len(points))
    height, width = frame.depth.shape
    columns = np.clip(np.rint(points[:, 0]).astype(int), 0, width - 1)
    rows = np.clip(np.rint(points[:, 1]).astype(int), 0, height - 1)
    return frame.depth[rows, columns].astype(np.float64)
