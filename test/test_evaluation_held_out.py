"""Held-out evaluation: a perfect map scores perfectly, and anyone can recompute the figures from the files."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from evaluation_fakes import ID_OFFSET, PerfectSnapshot, map_object, read

from cgc_ros.evaluation.compare import best_runs, comparison_json, load_runs, write_comparison
from cgc_ros.evaluation.figures import CONTRACT_KEYS, FIGURES, finite, read_metrics, write_json
from cgc_ros.evaluation.held_out import evaluate
from cgc_ros.evaluation.image_metrics import psnr
from cgc_ros.evaluation.label_metrics import SceneSegmentation, mean_iou
from cgc_ros.evaluation.report import write_report
from cgc_ros.evaluation.synthetic import SyntheticSequence
from cgc_ros.frame import IGNORED, UNLABELLED
from cgc_ros.palette import label_picture
from cgc_ros.run_files import RunError
from cgc_ros.sequences import SequenceError


@pytest.fixture(scope="module")
def sequence() -> SyntheticSequence:
    return SyntheticSequence(num_frames=16)


class FlawedSnapshot(PerfectSnapshot):
    """One object is missing from every label image, and the image is too bright by 10."""

    def render(self, camera, stamp_ns=None):
        view = super().render(camera)
        return type(view)(np.clip(view.color.astype(int) + 10, 0, 255).astype(np.uint8), view.depth + 0.05, view.alpha)

    def segment(self, camera):
        labels = super().segment(camera)
        return np.where(labels == 3 + ID_OFFSET, UNLABELLED, labels).astype(np.uint16)


def test_a_perfect_map_scores_perfectly(sequence, tmp_path):
    metrics = evaluate(PerfectSnapshot(), sequence, tmp_path).metrics
    assert metrics["scene_miou"] == metrics["scene_mbiou"] == metrics["ap50"] == metrics["ap25"] == 1.0
    assert metrics["psnr"] > 60  # float32 poses move a few texels by one grey level
    assert metrics["depth_median_error_m"] < 1e-4 and metrics["depth_coverage"] == 1.0
    assert (metrics["num_objects"], metrics["num_gaussians"], metrics["num_views_scored"]) == (4, 1234, 2)


def test_flaws_show_in_the_figures_they_belong_to(sequence, tmp_path):
    evaluation = evaluate(FlawedSnapshot(), sequence, tmp_path)
    assert evaluation.metrics["scene_miou"] == pytest.approx(0.75, abs=1e-9)  # one of four objects, unmatched, counts 0
    assert evaluation.metrics["ap50"] == 1.0  # its cloud is still there
    assert evaluation.metrics["depth_median_error_m"] == pytest.approx(0.05, abs=1e-4)
    assert 27 < evaluation.metrics["psnr"] < 29  # 20 log10(255 / 10) = 28.1, less where clipped
    missing = next(instance for instance in evaluation.instances if instance.id == 3)
    assert (missing.iou, missing.predicted_id, missing.cloud_iou) == (0.0, None, 1.0)


def test_what_a_recording_ignores_is_not_scored_and_marked(tmp_path):
    class WithHand(SyntheticSequence):
        def __init__(self):
            super().__init__(num_frames=16)
            self.has_ignore = True

        def load_ignore(self, index):
            ignore = np.zeros((120, 160), bool)
            ignore[60:, 50:90] = True
            return ignore

    sequence, hand = WithHand(), WithHand().load_ignore(0)

    class Ghosts(PerfectSnapshot):
        def render(self, camera, stamp_ns=None):
            view = super().render(camera)
            depth = np.where(hand, view.depth + 1, view.depth)
            return type(view)(np.where(hand[..., None], 255 - view.color, view.color), depth, view.alpha)

        def segment(self, camera):
            return np.where(hand, 999, super().segment(camera)).astype(np.uint16)

    perfect, ghosts = (evaluate(each(), sequence, tmp_path).metrics for each in (PerfectSnapshot, Ghosts))
    for name in ("psnr", "ssim", "scene_miou", "scene_mbiou", "depth_median_error_m", "depth_coverage"):
        assert ghosts[name] == pytest.approx(perfect[name]), name
    assert ghosts["scene_miou"] == ghosts["scene_mbiou"] == 1.0
    labels = cv2.imread(str(tmp_path / "labels" / "0007.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels == IGNORED, hand)
    assert (label_picture(labels)[hand] == label_picture(labels)[hand][0]).all()
    assert len(set(label_picture(labels)[70, 70].tolist())) == 1  # grey


def test_the_figures_can_be_recomputed_from_the_files(sequence, tmp_path):
    evaluation = evaluate(FlawedSnapshot(), sequence, tmp_path)
    scene, values = SceneSegmentation(), []
    for index in (7, 15):
        name = f"{index:04d}.png"
        labels = cv2.imread(str(tmp_path / "labels" / name), cv2.IMREAD_UNCHANGED)
        render = cv2.imread(str(tmp_path / "render" / name))[..., ::-1]
        depth = cv2.imread(str(tmp_path / "depth" / name), cv2.IMREAD_UNCHANGED)
        assert (labels.dtype, depth.dtype, render.dtype) == (np.uint16, np.uint16, np.uint8)
        assert np.abs(depth / 1000 - (sequence[index].depth + 0.05)).max() < 1e-3
        scene.add(sequence.truth.instances(index), labels)
        values.append(psnr(render, sequence[index].image))
    assert mean_iou(scene.masks.match(), {3, 4, 5, 6}) == evaluation.metrics["scene_miou"]
    assert np.mean(values) == evaluation.metrics["psnr"]


def test_without_truth_or_depth_the_figures_are_null_not_zero(sequence, tmp_path):
    class Bare(SyntheticSequence):
        def load_depth(self, index):
            return None

    bare = Bare(num_frames=8)
    bare.truth = None
    metrics = evaluate(PerfectSnapshot(), bare, tmp_path).metrics
    for key in ("scene_miou", "scene_mbiou", "ap50", "ap25", "depth_median_error_m", "depth_coverage"):
        assert metrics[key] is None
    assert metrics["psnr"] > 60


def test_a_recording_that_holds_out_nothing_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(RunError, match="holds none out.*heldout.txt"):
        evaluate(PerfectSnapshot(), SyntheticSequence(num_frames=5), tmp_path)


def test_an_unreadable_view_is_named_and_the_others_still_count(tmp_path):
    class Damaged(SyntheticSequence):
        def load_image(self, index):
            if index == 7:
                raise SequenceError("bad_image", "images/0007.jpg is truncated: restore it")
            return super().load_image(index)

    evaluation = evaluate(PerfectSnapshot(), Damaged(num_frames=16), tmp_path)
    assert evaluation.warnings == ["images/0007.jpg is truncated: restore it"]
    assert evaluation.metrics["num_views_scored"] == 1
    with pytest.raises(SequenceError, match="none of the 1 held-out frames"):
        evaluate(PerfectSnapshot(), Damaged(num_frames=8), tmp_path)


class Floating(PerfectSnapshot):
    """Something hangs halfway before the left quarter of the view, and just before the right one; above, nothing is."""

    def render(self, camera, stamp_ns=None):
        view = super().render(camera, stamp_ns)
        depth, width = view.depth.copy(), view.depth.shape[1]
        depth[:, : width // 4] *= 0.5
        depth[:, -width // 4 :] *= 0.7
        depth[: depth.shape[0] // 2] = np.nan
        return type(view)(view.color, depth, view.alpha)


def test_what_floats_is_what_lies_far_before_a_converged_maps_surfaces(sequence, tmp_path):
    metrics = evaluate(Floating(), sequence, tmp_path, converged=PerfectSnapshot()).metrics
    assert metrics["floating_share"] == pytest.approx(1 / 8)
    assert evaluate(PerfectSnapshot(), sequence, tmp_path, converged=Floating()).metrics["floating_share"] == 0.0
    assert evaluate(PerfectSnapshot(), sequence, tmp_path).metrics["floating_share"] is None


def test_background_predictions_compete_for_pixels_but_not_in_ap(sequence, tmp_path):
    snapshot = PerfectSnapshot()
    snapshot.objects += (map_object(1, np.random.default_rng(0).uniform(-2, 2, (500, 3)), background=True),)
    metrics = evaluate(snapshot, sequence, tmp_path).metrics
    assert (metrics["ap50"], metrics["num_objects"]) == (1.0, 4)


class _Checker(HTMLParser):
    """Collects what the page refers to, and checks that its elements nest."""

    void = frozenset({"meta", "img", "br", "link", "path", "use", "rect", "circle"})

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _check_page(path) -> str:
    checker = _Checker()
    checker.feed(path.read_text())
    assert checker.open == []
    assert all(source.startswith(("data:", "#")) for source in checker.sources), "the page must stand alone"
    return re.sub(r"\s+", " ", " ".join(checker.text))


HISTORY = [{"t": float(t), "train_psnr": 15 + t, "objects": t, "gaussians": 100 * t, "rss_mb": 500.0} for t in range(5)]


def test_the_report_stands_alone_and_shows_every_view_and_instance(sequence, tmp_path):
    evaluation = evaluate(FlawedSnapshot(), sequence, tmp_path)
    metrics = evaluation.metrics | {"sequence": "<synthetic>", "run": {"backend": "cpu", "masks": "given"}}
    write_report(tmp_path / "report.html", metrics, HISTORY, evaluation)
    text = _check_page(tmp_path / "report.html")
    for expected in (
        "<synthetic>: evaluation",
        "0007: PSNR",
        "0015: PSNR",
        "box 1",
        "ball 4",
        "Scene mIoU",
        "0.750",
        "label error",
    ):
        assert expected in text
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg") == 12 and page.count("<svg") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids of several plots must not clash"


def test_comparison_marks_the_best_of_each_figure(tmp_path):
    for name, values in {
        "a": {"psnr": 25.0, "peak_rss_mb": 900, "ssim": 0.9},
        "b": {"psnr": 26.0, "peak_rss_mb": 800, "ssim": 0.9},
    }.items():
        (tmp_path / name).mkdir()
        run = {"masks": "given", "budget": 60.0, "settings": {"training.ssim_weight": 0.3} if name == "b" else {}}
        write_json(tmp_path / name / "metrics.json", values | {"sequence": "table", "num_objects": 3, "run": run})
        write_json(tmp_path / name / "history.json", {"records": HISTORY})
    runs = load_runs([tmp_path / "a", tmp_path / "b"])
    by_key = {figure.key: figure for figure in FIGURES}
    assert [run.name for run in runs] == ["a", "b"]
    assert best_runs(by_key["psnr"], runs) == {1} and best_runs(by_key["peak_rss_mb"], runs) == {1}
    assert (
        best_runs(by_key["ssim"], runs)
        == best_runs(by_key["num_objects"], runs)
        == best_runs(by_key["ap50"], runs)
        == set()
    )
    assert comparison_json(runs)["figures"]["psnr"] == [25.0, 26.0]
    assert comparison_json(runs)["settings"] == {"training.ssim_weight": ["–", "0.3"]}
    write_comparison(tmp_path / "page.html", runs)
    page = _check_page(tmp_path / "page.html")
    assert "26.00 dB" in page and "training.ssim_weight" in page


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for parent in ("x", "y"):
        (tmp_path / parent / "run").mkdir(parents=True)
        write_json(tmp_path / parent / "run" / "metrics.json", {"psnr": 1.0})
    assert [run.name for run in load_runs([tmp_path / "x" / "run", tmp_path / "y" / "run"])] == ["x/run", "y/run"]


def test_files_that_are_missing_or_garbled_are_named(tmp_path):
    with pytest.raises(RunError, match="metrics.json does not exist.*cgc map"):
        load_runs([tmp_path])
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(RunError, match="metrics.json cannot be read"):
        read_metrics(tmp_path)


def test_json_has_no_nan_and_no_numpy(tmp_path):
    write_json(
        tmp_path / "x.json",
        {"a": np.float32(1.5), "b": float("nan"), "c": [np.int64(3), np.arange(2)], "d": float("inf")},
    )
    assert read(tmp_path / "x.json") == {"a": 1.5, "b": None, "c": [3, [0, 1]], "d": None}
    assert finite(True) is True


def test_figures_cover_the_contract():
    assert set(CONTRACT_KEYS) <= {figure.key for figure in FIGURES}
