"""Objects by free text, with a stand-in for CLIP that knows colours, and with open_clip itself, untrained."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torchvision_stand_in import working_torchvision
from viewer_maps import mapper

from cgc_ros.mapping.text_search import TextSearch
from cgc_ros.ros.text_query import TextQuery
from cgc_ros.segmentation.text_encoder import OpenClipEncoder, TextEncoderError
from cgc_ros.viewer import SavedMap

COLORS = {"red": (0.85, 0.25, 0.20), "green": (0.25, 0.70, 0.30), "blue": (0.25, 0.40, 0.85)}
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


class ColorEncoder:
    """Pictures are the hue of their middle, texts the colour they name; other words lie beside all colours."""

    picture_size = 32

    def __init__(self):
        self.encoded = 0

    def pictures(self, pictures):
        self.encoded += len(pictures)
        return np.stack([self._unit(np.append(each[12:20, 12:20].reshape(-1, 3).mean(axis=0), 0)) for each in pictures])

    def text(self, texts):
        found = [next((color for name, color in COLORS.items() if name in text), None) for text in texts]
        return np.stack([np.eye(4)[3] if color is None else self._unit(np.append(color, 0)) for color in found])

    @staticmethod
    def _unit(vector):
        vector = np.append(vector[:3] - np.mean(vector[:3]), vector[3])  # hue, not lightness
        return (vector / max(np.linalg.norm(vector), 1e-9)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    made = mapper()
    return made.snapshot(), list(made.keyframes)


def at(snapshot, place):
    """Id of the object there."""
    things = [each for each in snapshot.objects if not each.background]
    return min(things, key=lambda each: np.linalg.norm(each.box.center - np.array(place))).id


def test_the_red_thing_is_found_by_its_pictures(world):
    snapshot, keyframes = world
    search = TextSearch(ColorEncoder())
    things = [each for each in snapshot.objects if not each.background]
    relevance = search.relevance("the red thing", things, keyframes, snapshot)
    assert max(relevance, key=relevance.get) == at(snapshot, (-0.30, 0.00, 0.10)) and max(relevance.values()) > 0.9
    assert all(0 <= value <= 1 for value in relevance.values())
    assert max(search.relevance("a nonsense word", things, keyframes, snapshot).values()) <= 0.5


def test_objects_are_encoded_once(world):
    snapshot, keyframes = world
    search = TextSearch(encoder := ColorEncoder())
    search.relevance("red", snapshot.objects, keyframes, snapshot)
    count = encoder.encoded
    assert count > 0
    search.relevance("blue", snapshot.objects, keyframes, snapshot)
    assert encoder.encoded == count
    search.clear()
    search.relevance("blue", snapshot.objects, keyframes, snapshot)
    assert encoder.encoded == 2 * count


def test_what_no_keyframe_shows_is_left_out(world):
    snapshot, _ = world
    assert TextSearch(ColorEncoder()).relevance("red", snapshot.objects, [], snapshot) == {}


def test_the_nodes_query_takes_keyframes_and_snapshot_from_its_session():
    session = SavedMap(mapper())  # answers as a session does
    query = TextQuery(session, TextSearch(ColorEncoder()))
    things = [each for each in session.snapshot.objects if not each.background]
    relevance = query.relevance("something red", things)
    assert max(relevance, key=relevance.get) == at(session.snapshot, (-0.30, 0.00, 0.10))
    query.clear()
    assert query.relevance("something red", things) == pytest.approx(relevance)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A checkpoint of an open_clip architecture with random weights."""
    if find_spec("open_clip") is None or find_spec("torchvision") is None:
        pytest.skip("open_clip is not installed (optional): pip install open_clip_torch")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test.json").write_text(json.dumps(TINY))
    with working_torchvision():
        import open_clip

        open_clip.add_model_config(folder / "tiny-test.json")
        torch.manual_seed(1)
        torch.save(open_clip.create_model("tiny-test").state_dict(), folder / "weights.pt")
        yield folder / "weights.pt"


def test_open_clip_encodes_from_a_checkpoint_on_disk(tiny_clip, world):
    snapshot, keyframes = world
    encoder = OpenClipEncoder(tiny_clip, "tiny-test")
    texts = encoder.text(["the red mug", "a box"])
    pictures = encoder.pictures([np.full((50, 40, 3), value, np.uint8) for value in (0, 255)] * 10)
    assert encoder.picture_size == 32 and texts.shape == (2, 16) and pictures.shape == (20, 16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([texts, pictures]), axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(pictures[:2], pictures[18:], atol=1e-5)
    np.testing.assert_allclose(encoder.text(["a box"])[0], texts[1], atol=1e-5)
    relevance = TextSearch(encoder).relevance("the red mug", snapshot.objects, keyframes, snapshot)
    assert relevance and all(0 < value < 1 for value in relevance.values())


def test_open_clip_sees_what_its_own_preprocessing_sees(tiny_clip):
    import open_clip
    from PIL import Image

    picture = np.random.default_rng(3).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    model, _, preprocess = open_clip.create_model_and_transforms("tiny-test", pretrained=str(tiny_clip))
    with torch.inference_mode():
        theirs = model.eval().encode_image(preprocess(Image.fromarray(picture))[None])[0].numpy()
    ours = OpenClipEncoder(tiny_clip, "tiny-test", device="cpu").pictures([picture])[0]
    assert ours @ theirs / np.linalg.norm(theirs) > 0.9999


@pytest.mark.parametrize(
    ("path", "model", "said"),
    [("nowhere.pt", "ViT-B-32", "no file"), ("weights.pt", "ViT-B-32", "no checkpoint of ViT-B-32"),
     ("weights.pt", "ViT-Z-99", "knows no model"), ("weights.pt", "ViT-B-16-SigLIP", "nothing is downloaded")],
)  # fmt: skip
def test_what_cannot_be_loaded_is_refused_with_a_remedy(tiny_clip, path, model, said):
    with pytest.raises(TextEncoderError, match=said):
        OpenClipEncoder(tiny_clip.parent / path, model)


def test_without_open_clip_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(TextEncoderError, match="pip install open_clip_torch"):
        OpenClipEncoder("weights.pt")
