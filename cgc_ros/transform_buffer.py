"""A buffer of stamped transforms with tf2's answers and no ROS in it: what /tf and /tf_static say, asked at an
image's stamp.

Semantics are those of tf2's BufferCore (Foote, "tf: The transform library", TePRA 2013): every frame has one parent at
a time, a lookup walks both frames up to their common ancestor, each dynamic edge is interpolated between its two
neighbouring samples (translation linearly, rotation along the shortest great arc) and nothing is ever extrapolated.

Four differences, all on purpose:
- the latest transform is asked for by `stamp_ns=None`; a stamp of zero is an ordinary stamp, so that an unstamped
  image fails by name instead of silently getting the newest pose;
- an edge that would close a loop is refused when it arrives (tf2 notices at lookup);
- two samples of one edge with equal stamps: the later one replaces the earlier (tf2 keeps both and answers with the
  later);
- an edge sent as static and as dynamic follows the newest message (tf2: whichever came first).
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right

import numpy as np
from scipy.spatial.transform import Rotation

from cgc_ros.errors import ReasonError
from cgc_ros.frame import FrameError, check_rigid
from cgc_ros.messages.frame_names import frame_name

NANOSECONDS = 1_000_000_000


class TransformError(ReasonError, LookupError):
    """A transform that cannot be answered or stored.

    Reasons of `lookup`: unknown_frame, disconnected, extrapolation_past, extrapolation_future (waiting may help),
    empty, loop.
    Reasons of `set_transform`: bad_transform, bad_frame, loop, old_data (older than the history: the clock may have
    jumped back).
    """


class TransformBuffer:
    """Transforms between named frames over a sliding window of time. Thread-safe.

    `history_s`: seconds of dynamic transforms kept per edge, counted back from the edge's newest sample. Static edges
    never age.
    """

    def __init__(self, history_s: float = 10.0):
        if not history_s > 0:
            raise ValueError(f"history_s must be positive, got {history_s}")
        self.history_ns = int(history_s * NANOSECONDS)
        self._edges: dict[str, _Edge] = {}  # by child frame
        self._frames: dict[str, None] = {}  # every frame ever named, in order of arrival; survives clear(), as in tf2
        self._lock = threading.RLock()

    def num_samples(self) -> int:
        """How many are held, of all edges."""
        with self._lock:
            return sum(len(edge.stamps) for edge in self._edges.values())

    def set_transform(self, parent: str, child: str, stamp_ns: int, matrix: np.ndarray, static: bool = False) -> None:
        """Store parent_from_child, a [4, 4] rigid transform in metres. Samples of one edge may arrive in any order.

        A child that is sent with a new parent is reparented from that stamp on. Raises TransformError.
        """
        parent, child = _frame_id(parent), _frame_id(child)
        if parent == child:
            raise TransformError(
                "bad_frame", f"frame {child!r} is sent as its own parent: fix the node that publishes it"
            )
        matrix = np.array(matrix, dtype=np.float64)
        try:
            check_rigid(matrix)
        except FrameError as error:
            raise TransformError("bad_transform", f"transform {parent} -> {child} refused: {error}") from error
        stamp_ns = int(stamp_ns)
        with self._lock:
            if self._is_above(child, parent, stamp_ns):
                raise TransformError(
                    "loop",
                    f"transform {parent} -> {child} refused: {child!r} is already above {parent!r} in the tree; "
                    "two nodes publish this chain in opposite directions, stop one of them",
                )
            edge = self._edges.get(child)
            if edge is None or edge.static != static:
                edge = _Edge(child, static)
            edge.insert(stamp_ns, parent, matrix, self.history_ns)
            self._edges[child] = edge
            self._frames.setdefault(parent)
            self._frames.setdefault(child)

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> np.ndarray:
        """target_from_source at `stamp_ns`, [4, 4] float64; None asks for the newest stamp that the whole chain has.

        Raises TransformError, naming the edge that fails.
        """
        target, source = _frame_id(target), _frame_id(source)
        with self._lock:
            self._check_known(target, source)
            if stamp_ns is None:
                stamp_ns = self._latest_common_stamp(target, source)
            up_from_source = self._climb(source, stamp_ns, until=target)
            if up_from_source.top == target:
                return up_from_source.transforms[target]
            up_from_target = self._climb(target, stamp_ns, until=source)
        common = next((frame for frame in up_from_source.transforms if frame in up_from_target.transforms), None)
        if common is None:
            raise (
                up_from_source.error
                or up_from_target.error
                or self._disconnected(target, source, up_from_source, up_from_target)
            )
        common_from_source = up_from_source.transforms[common]
        common_from_target = up_from_target.transforms[common]
        return _inverse(common_from_target) @ common_from_source

    def latest_stamp_ns(self, target: str, source: str) -> int | None:
        """The newest stamp at which `lookup` can answer; None where the chain is all static. Raises TransformError."""
        target, source = _frame_id(target), _frame_id(source)
        with self._lock:
            self._check_known(target, source)
            return self._latest_common_stamp(target, source)

    def frames(self) -> tuple[str, ...]:
        """Every frame named so far, in order of arrival."""
        with self._lock:
            return tuple(self._frames)

    def root(self, frame: str) -> str:
        """The top of the tree that holds `frame`, by each edge's newest parent. Raises TransformError
        (unknown_frame).
        """
        frame = _frame_id(frame)
        with self._lock:
            self._check_known(frame)
            return _walk_up(frame, lambda name: self._newest_parent(name))[-1]

    def clear(self) -> None:
        """Forget dynamic samples: call it when the clock jumped back. Static edges and frame names stay, as in tf2."""
        with self._lock:
            for child, edge in self._edges.items():
                if not edge.static:
                    self._edges[child] = _Edge(child, static=False)

    def _newest_parent(self, frame: str, not_before_ns: int | None = None) -> str | None:
        edge = self._edges.get(frame)
        if edge is None or not edge.stamps:
            return None
        is_stale = not_before_ns is not None and not edge.static and edge.stamps[-1] < not_before_ns
        return None if is_stale else edge.parents[-1]

    def _is_above(self, ancestor: str, frame: str, stamp_ns: int) -> bool:
        """Edges not heard of for a whole history do not count: a tree that was turned around recovers by itself."""
        return ancestor in _walk_up(frame, lambda name: self._newest_parent(name, stamp_ns - self.history_ns))

    def _climb(self, frame: str, stamp_ns: int | None, until: str) -> _Climb:
        """All ancestors of `frame` at `stamp_ns` with ancestor_from_frame, up to `until`, the root, or an edge
        without an answer.
        """
        climb = _Climb(frame)
        transform = np.eye(4)
        while frame != until and (edge := self._edges.get(frame)) is not None:
            try:
                parent, parent_from_frame = edge.at(stamp_ns)
            except TransformError as error:
                climb.error = error
                break
            if parent in climb.transforms:
                climb.error = TransformError(
                    "loop",
                    f"frames {' -> '.join([*climb.transforms, parent])} form a loop: two nodes publish this chain in "
                    "opposite directions, stop one of them",
                )
                break
            frame, transform = parent, parent_from_frame @ transform
            climb.transforms[frame] = transform
        return climb

    def _latest_common_stamp(self, target: str, source: str) -> int | None:
        """The oldest of the newest stamps along the chain; None where nothing on it is dynamic."""

        def chain(frame: str) -> list[str]:
            return _walk_up(frame, lambda name: self._newest_parent(name))

        from_source, from_target = chain(source), chain(target)
        shared = set(from_source) & set(from_target)
        edges = [
            self._edges[name] for name in [*from_source, *from_target] if name not in shared and name in self._edges
        ]
        return min((edge.stamps[-1] for edge in edges if not edge.static and edge.stamps), default=None)

    def _check_known(self, *frames: str) -> None:
        for frame in frames:
            if frame not in self._frames:
                known = ", ".join(self._frames) or "none yet"
                raise TransformError("unknown_frame", f"frame {frame!r} was never published; known frames: {known}")

    @staticmethod
    def _disconnected(target: str, source: str, from_source: _Climb, from_target: _Climb) -> TransformError:
        return TransformError(
            "disconnected",
            f"no chain of transforms joins {source!r} (its tree's root is {from_source.top!r}) to {target!r} (root "
            f"{from_target.top!r}): start the node that publishes the link between the two",
        )


class _Climb:
    """Where a walk from one frame up the tree got to."""

    def __init__(self, frame: str):
        self.transforms: dict[str, np.ndarray] = {frame: np.eye(4)}  # ancestor -> ancestor_from_frame
        self.error: TransformError | None = None  # why it went no further; None at a root

    @property
    def top(self) -> str:
        return next(reversed(self.transforms))


class _Edge:
    """The samples of one child frame, sorted by stamp. Insertion and search are binary; old samples are dropped in
    batches.
    """

    def __init__(self, child: str, static: bool):
        self.child = child
        self.static = static
        self.stamps: list[int] = []
        self.parents: list[str] = []
        self.matrices: list[np.ndarray] = []  # parent_from_child, [4, 4]
        self._first = 0  # samples before this index are older than the history

    def insert(self, stamp_ns: int, parent: str, matrix: np.ndarray, history_ns: int) -> None:
        if self.static:
            self.stamps, self.parents, self.matrices = [stamp_ns], [parent], [matrix]
            return
        if self.stamps and stamp_ns < self.stamps[-1] - history_ns:
            raise TransformError(
                "old_data",
                f"transform {parent} -> {self.child} at {_seconds(stamp_ns)} is "
                f"{_seconds(self.stamps[-1] - stamp_ns)} older than its newest sample, more than the history kept: "
                "if the clock jumped back (a recording that starts again), "
                "clear the buffer",
            )
        index = bisect_left(self.stamps, stamp_ns, lo=self._first)
        if index < len(self.stamps) and self.stamps[index] == stamp_ns:
            self.parents[index], self.matrices[index] = parent, matrix
        else:
            self.stamps.insert(index, stamp_ns)
            self.parents.insert(index, parent)
            self.matrices.insert(index, matrix)
        self._prune(self.stamps[-1] - history_ns)

    def at(self, stamp_ns: int | None) -> tuple[str, np.ndarray]:
        """Parent and parent_from_child at a stamp. Between two samples with different parents the older one holds."""
        if not self.stamps:
            raise TransformError(
                "empty",
                f"no transform of {self.child!r} has arrived since the buffer was cleared: check that its publisher "
                "still runs",
            )
        if self.static or stamp_ns is None:
            return self.parents[-1], self.matrices[-1]
        newest, oldest = self.stamps[-1], self.stamps[self._first]
        link = f"{self.parents[-1]} -> {self.child}"
        if stamp_ns > newest:
            raise TransformError(
                "extrapolation_future",
                f"transform {link} at {_seconds(stamp_ns)} is not known yet, the newest is "
                f"{_seconds(stamp_ns - newest)} older: wait longer for transforms, or check that its publisher runs "
                "and clocks agree",
            )
        if stamp_ns < oldest:
            raise TransformError(
                "extrapolation_past",
                f"transform {link} at {_seconds(stamp_ns)} is not known any more, the oldest kept is "
                f"{_seconds(oldest - stamp_ns)} newer: keep a longer history, or check that clocks agree",
            )
        after = bisect_right(self.stamps, stamp_ns, lo=self._first)
        before = after - 1
        if self.stamps[before] == stamp_ns or self.parents[before] != self.parents[after]:
            return self.parents[before], self.matrices[before]
        ratio = (stamp_ns - self.stamps[before]) / (self.stamps[after] - self.stamps[before])
        return self.parents[before], interpolate_rigid(self.matrices[before], self.matrices[after], ratio)

    def _prune(self, oldest_kept_ns: int) -> None:
        self._first = bisect_left(self.stamps, oldest_kept_ns, lo=self._first)
        if self._first > len(self.stamps) // 2:  # half are old: one move of what is left pays for as many insertions
            for samples in (self.stamps, self.parents, self.matrices):
                del samples[: self._first]
            self._first = 0


def interpolate_rigid(start: np.ndarray, end: np.ndarray, ratio: float) -> np.ndarray:
    """Between two [4, 4] rigid transforms, ratio 0..1: translation linearly, rotation along the shortest great arc
    (slerp).
    """
    result = np.eye(4)
    result[:3, :3] = start[:3, :3] @ _share_of_turn(start[:3, :3].T @ end[:3, :3], ratio)
    result[:3, 3] = (1.0 - ratio) * start[:3, 3] + ratio * end[:3, 3]
    return result


def _share_of_turn(turn: np.ndarray, ratio: float) -> np.ndarray:
    """A rotation [3, 3] about the axis of `turn`, by a share of its angle: Rodrigues' formula, which takes a tenth of
    the time of a general conversion and cannot tell the axis of half a turn.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn.tolist()
    axis = (zy - yz, xz - zx, yx - xy)  # times twice the sine
    sine, cosine = 0.5 * math.hypot(*axis), 0.5 * (xx + yy + zz - 1.0)
    if sine < 1e-9 and cosine > 0.0:
        return np.eye(3)
    if sine < 1e-4 and cosine < 0.0:
        return Rotation.from_rotvec(ratio * Rotation.from_matrix(turn).as_rotvec()).as_matrix()
    angle = ratio * math.atan2(sine, cosine)
    x, y, z = (0.5 * part / sine for part in axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


def _walk_up(frame: str, parent_of) -> list[str]:
    """`frame` and its ancestors; stops at a root or before it would visit a frame twice."""
    chain = {frame: None}
    while (frame := parent_of(frame)) is not None and frame not in chain:
        chain[frame] = None
    return list(chain)


def _inverse(rigid: np.ndarray) -> np.ndarray:
    inverse = np.eye(4)
    inverse[:3, :3] = rigid[:3, :3].T
    inverse[:3, 3] = -rigid[:3, :3].T @ rigid[:3, 3]
    return inverse


def _frame_id(name: str) -> str:
    name = frame_name(name)
    if not name:
        raise TransformError("bad_frame", "a frame id is empty: set the frame_id of the header")
    return name


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:.3f} s"
