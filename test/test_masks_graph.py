"""The built-in source on scenes whose truth is known because the tests draw them."""

from __future__ import annotations

import numpy as np
import pytest

from cgc_ros.masks import KINDS, MaskError, create_mask_source

HEIGHT, WIDTH, FOCAL = 240, 320, 300.0


class Tabletop:
    """A checkered table with a box in motley print and a striped ball on it, seen from above at an angle; ray-cast."""

    def __init__(self):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        rays = np.stack([(columns - 159.5) / FOCAL, (rows - 119.5) / FOCAL, np.ones((HEIGHT, WIDTH))], axis=-1)
        tilt = np.radians(50.0)  # world: x right, y into the table, z up; the camera looks forward and down
        self.world_from_camera = np.array(
            [[1, 0, 0], [0, -np.sin(tilt), np.cos(tilt)], [0, -np.cos(tilt), -np.sin(tilt)]]
        )
        directions, origin = rays @ self.world_from_camera.T, np.array([0.0, -0.65, 0.75])
        self.truth = np.zeros((HEIGHT, WIDTH), int)
        self.image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        depth = np.full((HEIGHT, WIDTH), np.inf)
        table = -origin[2] / directions[..., 2]
        points = origin + table[..., None] * directions
        checks = (np.floor(points[..., 0] / 0.05) + np.floor(points[..., 1] / 0.05)) % 2
        self._paint(depth, table, directions[..., 2] < 0, 1, 130 + 60 * checks[..., None] * np.ones(3))
        self._add_box(depth, origin, directions, np.array([-0.2, 0.0, 0.0]), np.array([-0.05, 0.12, 0.16]))
        self._add_ball(depth, origin, directions, np.array([0.12, 0.05, 0.08]), 0.08)
        self.depth = depth.astype(np.float32)

    def _add_box(self, depth, origin, directions, low, high):
        near, far = (low - origin) / directions, (high - origin) / directions
        enter, leave = np.minimum(near, far), np.maximum(near, far)
        face, distance = enter.argmax(axis=-1), enter.max(axis=-1)
        points = np.nan_to_num(origin + distance[..., None] * directions)
        prints = np.floor(points / 0.04).astype(int) @ [1, 3, 5] + face
        colors = np.array([[200, 40, 40], [40, 160, 60], [230, 210, 60], [240, 240, 240]], float)
        self._paint(depth, distance, distance < leave.min(axis=-1), 2, colors[prints % 4])

    def _add_ball(self, depth, origin, directions, center, radius):
        offset = origin - center
        a, b = (directions**2).sum(-1), (directions * offset).sum(-1)
        root = b * b - a * ((offset**2).sum() - radius**2)
        distance = (-b - np.sqrt(np.maximum(root, 0))) / a
        height = (origin + distance[..., None] * directions)[..., 2]
        stripes = (np.floor(height / 0.03) % 2)[..., None]
        self._paint(depth, distance, root > 0, 3, stripes * [30, 40, 150] + (1 - stripes) * [240, 240, 240])

    def _paint(self, depth, distance, hit, label, color):
        seen = hit & (distance > 0) & (distance < depth)
        depth[seen] = distance[seen]
        self.truth[seen] = label
        self.image[seen] = np.broadcast_to(color, self.image.shape)[seen].astype(np.uint8)


@pytest.fixture(scope="module")
def scene() -> Tabletop:
    return Tabletop()


@pytest.fixture(scope="module")
def source():
    return create_mask_source("graph")


def segment(source, image, depth=None) -> np.ndarray:
    """The coarser of the two levels."""
    return source.segment(image, depth=depth)[0]


def best_iou(labels: np.ndarray, truth: np.ndarray) -> float:
    return max(
        (((labels == label) & truth).sum() / ((labels == label) | truth).sum() for label in np.unique(labels) if label),
        default=0.0,
    )


def test_two_colours_are_two_masks_cut_at_their_border(source):
    image = np.full((120, 200, 3), (180, 40, 30), np.uint8)
    image[:, 90:] = (30, 60, 190)
    labels = segment(source, image)
    assert (labels.dtype, labels.shape) == (np.int32, (120, 200))
    assert set(np.unique(labels)) == {1, 2}
    assert best_iou(labels, np.arange(200)[None] < np.full((120, 1), 90)) > 0.98


def test_colour_alone_cuts_the_box_into_its_print(scene, source):
    assert best_iou(segment(source, scene.image), scene.truth == 2) < 0.7


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
def test_depth_that_is_all_invalid_is_as_good_as_none(scene, source, value):
    depth = np.full(scene.depth.shape, value, np.float32)
    np.testing.assert_array_equal(segment(source, scene.image, depth=depth), segment(source, scene.image))


def test_with_depth_things_are_whole_whatever_is_printed_on_them(scene, source):
    labels = segment(source, scene.image, depth=scene.depth)
    assert best_iou(labels, scene.truth == 2) > 0.8
    assert best_iou(labels, scene.truth == 3) > 0.8


def test_the_maps_own_depth_joins_by_a_granularity_of_its_own(scene):
    source = create_mask_source("graph", granularity_depth=-1.0, granularity_rendered=-6.0)
    by_camera, by_map = (
        source.segment(scene.image, depth=scene.depth),
        source.segment_rendered(scene.image, scene.depth),
    )
    finer = create_mask_source("graph", granularity_depth=-6.0)
    np.testing.assert_array_equal(by_map, finer.segment(scene.image, depth=scene.depth))
    assert by_map[0].max() > by_camera[0].max()


def test_parts_lie_in_objects_and_are_finer(scene, source):
    for depth in (None, scene.depth):
        objects, parts = source.segment(scene.image, depth=depth)
        pairs = np.unique(np.stack([parts[parts > 0], objects[parts > 0]]), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]
        assert parts.max() > objects.max()


def test_large_images_are_segmented_at_working_resolution_and_borders_sharpened():
    image = np.full((900, 1200, 3), (180, 40, 30), np.uint8)
    image[:, 601:] = (30, 60, 190)
    labels = segment(create_mask_source("graph"), image)
    assert labels.shape == (900, 1200)
    assert best_iou(labels, np.arange(1200)[None] < np.full((900, 1), 601)) > 0.99


def test_the_same_image_gives_the_same_masks(scene, source):
    np.testing.assert_array_equal(
        segment(source, scene.image, depth=scene.depth), segment(source, scene.image, depth=scene.depth)
    )


def test_nothing_smaller_than_the_least_area_gets_a_mask(scene):
    for min_area in (100, 3000):
        labels = segment(create_mask_source("graph", min_area=min_area), scene.image)
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        assert areas.min() >= min_area
        assert list(ids) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640, 3), np.uint8),
        np.full((33, 47, 3), 255, np.uint8),
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((3, 500, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8),
    ],
    ids=["black", "white", "tiny", "line", "noise"],
)
def test_images_with_nothing_to_see_are_segmented_all_the_same(source, image):
    for depth in (None, np.ones(image.shape[:2], np.float32)):
        labels = segment(source, image, depth=depth)
        assert labels.shape == image.shape[:2]
        if image.std() == 0 and image.size > 10_000:
            assert set(np.unique(labels)) == {1}


def test_input_that_is_no_image_is_refused_by_name(source):
    with pytest.raises(MaskError, match=r"\(10, 10\) uint8") as caught:
        segment(source, np.zeros((10, 10), np.uint8))
    assert caught.value.reason == "bad_image"
    with pytest.raises(MaskError, match="registered") as caught:
        segment(source, np.zeros((10, 10, 3), np.uint8), depth=np.zeros((5, 5), np.float32))
    assert caught.value.reason == "depth_mismatch"


def test_sources_are_made_by_name():
    assert set(KINDS) == {"graph", "sam", "onnx", "given"}
    assert create_mask_source("graph").name == "graph"
    assert create_mask_source("given") is None  # frames carry their masks
    for kind, options, named in (
        ("magic", {}, "magic.*graph, sam, onnx, given"),
        ("graph", {"colour": 3}, "colour"),
        ("graph", {"superpixel_spacing": 200}, "superpixel_spacing"),
        ("graph", {"parts": 1.0}, "parts"),
        ("given", {"path": "x"}, "path"),
    ):
        with pytest.raises(MaskError, match=named):
            create_mask_source(kind, **options)
