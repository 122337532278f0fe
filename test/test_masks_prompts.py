"""Prompts where the map explains nothing yet: the same objects for a fraction of the decoder's work."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision_stand_in import working_torchvision

from cgc_ros.masks.prompts import grid, prompts_for

HEIGHT, WIDTH = 240, 320


def scene() -> np.ndarray:
    """[H, W] int32: a wall (17) and a table (1) that the image's border cuts, and 15 boxes on it (2 to 16)."""
    labels = np.full((HEIGHT, WIDTH), 17, np.int32)
    labels[40:] = 1
    for number in range(15):
        row, column = divmod(number, 5)
        labels[60 + 60 * row : 100 + 60 * row, 16 + 62 * column : 56 + 62 * column] = 2 + number
    return labels


def test_prompts_are_points_of_what_is_unexplained_and_boxes_of_what_is_known():
    known = scene()
    known[known == 9] = 0  # new to the map
    known[70:90, 20:22] = 0  # a sliver in another
    known[200:202, 100:102] = 30  # too small to be asked for
    prompts = prompts_for(known, 32, min_area=20)
    columns, rows = (prompts.points * (WIDTH, HEIGHT)).astype(int).T
    assert set(scene()[rows, columns]) == {9}
    inside = scene() == 9
    at = (grid(32) * (WIDTH, HEIGHT)).astype(int)
    assert (scene()[rows, columns] == 9).sum() == inside[at[:, 1], at[:, 0]].sum() >= 9
    assert len(prompts.boxes) == 16 and [16, 60, 56, 100] in prompts.boxes.tolist()
    assert not len(prompts_for(np.ones((HEIGHT, WIDTH), np.int32), 32, 20).points)
    assert len(prompts_for(np.zeros((HEIGHT, WIDTH), np.int32), 32, 20)) == 32 * 32


@pytest.fixture(scope="module")
def torchvision_ops():
    with working_torchvision():
        yield


def test_the_grid_is_segment_anythings(torchvision_ops):
    amg = pytest.importorskip("segment_anything.utils.amg")
    np.testing.assert_allclose(grid(7), amg.build_point_grid(7))


class OracleModel(torch.nn.Module):
    """Counts prompts, and answers each with the object that it means, and images that it is shown."""

    def __init__(self):
        super().__init__()
        self.prompts = self.encodings = 0


def oracle_family():
    """A family whose generator and predictor stand over the scene's truth."""

    class Predictor:
        def __init__(self, model):
            self.model, self.image = model, None

        def set_image(self, image):
            if self.image is not image:
                self.model.encodings += 1
            self.image = image

        def forget(self):
            self.image = None

    def make_generator(model, *, point_grids, points_per_batch, **_):
        predictor = Predictor(model)

        def generate(image):
            predictor.set_image(image)
            points = (generator.point_grids[0] * (WIDTH, HEIGHT)).astype(int)
            model.prompts += len(points)
            ids = np.unique(scene()[points[:, 1], points[:, 0]])
            return [{"segmentation": scene() == each, "predicted_iou": 0.9, "stability_score": 0.9} for each in ids]

        generator = SimpleNamespace(
            predictor=predictor, point_grids=point_grids, points_per_batch=points_per_batch, generate=generate
        )
        return generator

    def predict_boxes(predictor, boxes):
        predictor.model.prompts += len(boxes)
        masks = []
        for left, top, right, bottom in boxes.astype(int):
            middle = scene()[(top + bottom) // 2, (left + right) // 2]
            masks.append(scene() == (middle if right - left < WIDTH else 17 if top == 0 else 1))
        return torch.from_numpy(np.array(masks)), torch.full((len(boxes),), 0.95)

    return SimpleNamespace(name="oracle", load=lambda: None, make_generator=make_generator, predict_boxes=predict_boxes)


def test_the_same_objects_take_a_fifth_of_the_prompts_once_the_map_knows_most_of_them(torchvision_ops):
    from cgc_ros.masks.sam import SamMaskSource, SamOptions

    model = OracleModel()
    source = SamMaskSource(SamOptions(device="cpu", full_grid_every=10), model=model, family=oracle_family())
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    expected = source.segment(image)
    assert (expected[0].max(), model.prompts, model.encodings) == (17, 1024, 1)
    known = scene()
    known[np.isin(known, [5, 9, 16])] = 0  # three are new
    images = 20  # two of them with all of the grid
    model.prompts = model.encodings = 0
    for _ in range(images):
        found = source.segment_news(image, known)
        matched = {(int(a), int(b)) for a, b in zip(found[0].ravel(), expected[0].ravel(), strict=True)}
        assert len(matched) == 17  # one to one
    assert model.encodings == images and model.prompts < images * 1024 / 5


def test_a_real_model_decodes_fewer_prompts_and_encodes_once(torchvision_ops):
    pytest.importorskip("segment_anything")
    from test_masks_sam import tiny_sam

    from cgc_ros.masks.sam import SamMaskSource, SamOptions

    model = tiny_sam()
    settings = {"points_per_side": 8, "min_area": 20, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    source = SamMaskSource(SamOptions(device="cpu", **settings), model=model)
    counted = {"prompts": 0, "encodings": 0}

    def count_prompts(module, arguments, keywords, output):
        counted["prompts"] += len(output[0])

    def count_encodings(module, arguments, output):
        counted["encodings"] += 1

    model.mask_decoder.register_forward_hook(count_prompts, with_kwargs=True)
    model.image_encoder.register_forward_hook(count_encodings)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    source.segment(image)
    assert counted == {"prompts": 64, "encodings": 1}
    known = np.zeros((48, 64), np.int32)
    known[:, :56] = 1
    known[10:40, 10:30] = 2
    counted.update(prompts=0, encodings=0)
    labels = source.segment_news(image, known)
    assert counted == {"prompts": 8 + 2, "encodings": 1} and labels.shape == (2, 48, 64)
    everything = np.ones((48, 64), np.int32)
    counted.update(prompts=0, encodings=0)
    source.segment_news(image, everything)
    assert counted == {"prompts": 1, "encodings": 1}
    other = image[::-1].copy()
    source.segment_news(other, everything)  # another image is encoded anew
    assert counted == {"prompts": 2, "encodings": 2}
