"""The pair of segmenters: trained once, one reference for all adaptations, and clear errors about checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medlib.data import boxes_from_masks, medical_phantoms
from medlib.models import SegmenterPair, load_pair, prepare_pair
from medlib.models import pair as pair_module
from medlib.profiles import load_profile
from medlib.store import ArtefactStore

torch.set_num_threads(1)
LARGE = load_profile("paper").pruning
TINY = load_profile("smoke").pruning.model_copy(
    update={"training_images": 12, "reference_steps": 3, "adaptation_steps": 3, "adaptation_seeds": 2}
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    return ArtefactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def pair(store: ArtefactStore) -> SegmenterPair:
    return load_pair(TINY, store=store)


def test_it_is_trained_once(pair: SegmenterPair, store: ArtefactStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pair_module, "train_segmenter", lambda *_, **__: pytest.fail("trained again"))
    again = load_pair(TINY, store=store)
    assert again.adapted.digest() == pair.adapted.digest() and again.reference.digest() == pair.reference.digest()


def test_training_repeats_itself(pair: SegmenterPair, tmp_path: Path):
    assert load_pair(TINY, store=ArtefactStore(tmp_path)).adapted.digest() == pair.adapted.digest()


def test_adaptations_share_the_reference_and_its_prompt_encoder(pair: SegmenterPair, store: ArtefactStore):
    other = load_pair(TINY, seed=1, store=store)
    assert other.reference.digest() == pair.reference.digest()
    assert other.adapted.digest() != pair.adapted.digest() != pair.reference.digest()
    general, adapted = pair.reference.network.state_dict(), pair.adapted.network.state_dict()
    moved = {name for name in general if not torch.equal(general[name], adapted[name])}
    assert not any(name.startswith("prompt_encoder") for name in moved)
    for part in ("image_encoder.blocks.0.attn.qkv", "image_encoder.neck", "mask_decoder"):
        assert any(name.startswith(part) for name in moved), part


@pytest.mark.parametrize(
    "change", [{"reference_steps": 4}, {"adaptation_steps": 4}, {"box_jitter": 1}, {"training_images": 15}]
)
def test_every_setting_counts(pair: SegmenterPair, tmp_path: Path, change: dict[str, int]):
    other = load_pair(TINY.model_copy(update=change), store=ArtefactStore(tmp_path))
    assert other.adapted.digest() != pair.adapted.digest()


def test_every_module_that_decides_the_weights_is_watched(store: ArtefactStore):
    seen = set()

    class Recorder(ArtefactStore):
        def fetch(self, name, inputs, build, code):
            seen.update(module.__name__.removeprefix("medlib.") for module in code)
            return super().fetch(name, inputs, build, code)

    load_pair(TINY, store=Recorder(store.root))
    assert {"models.pair", "models.training", "models.family", "data.boxes"} <= seen
    assert {"data.shapes", "data.ultrasound", "data.dermoscopy", "data.polyps", "data.modalities"} <= seen


def test_the_manifest_names_every_adaptation(pair: SegmenterPair, store: ArtefactStore, monkeypatch):
    monkeypatch.setenv("MEDLIB_CACHE", str(store.root))
    manifest = prepare_pair(TINY)
    assert manifest["pair"] == "trained" and len(set(manifest["adapted"])) == 2
    assert prepare_pair(LARGE) == {"pair": "vit_b", "weights": "the reader's checkpoints"}


def test_adaptation_helps_on_medical_images(tmp_path: Path):
    """A short version of the real thing."""
    settings = TINY.model_copy(update={"training_images": 48, "reference_steps": 30, "adaptation_steps": 70})
    trained = load_pair(settings, store=ArtefactStore(tmp_path))
    scores = {}
    for name, model in (("before", trained.reference), ("after", trained.adapted)):
        overlaps = []
        for samples in medical_phantoms(6, size=settings.image_size, seed=77).values():
            logits = model.logits(samples.images, boxes_from_masks(samples.masks))
            found = [z.numpy() > 0 for z in logits]
            overlaps += [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(found, samples.masks, strict=True)]
        scores[name] = np.mean(overlaps)
    assert scores["after"] > 0.4 and scores["after"] > scores["before"] + 0.2, scores


@pytest.mark.parametrize("given", ["checkpoint", "reference"])
def test_checkpoints_are_asked_for_where_they_are_needed_and_nowhere_else(given: str, tmp_path: Path):
    other = {"checkpoint": "reference", "reference": "checkpoint"}[given]
    with pytest.raises(ValueError, match=rf"needs the weights of both\. Give the path of \w+\.pth: -p {other} PATH"):
        load_pair(LARGE, **{given: str(tmp_path / "net.pth")})
    with pytest.raises(ValueError, match=f"trains its own pair, which takes no {given}. Leave it empty, or use"):
        load_pair(TINY, **{given: str(tmp_path / "net.pth")})


def test_a_checkpoint_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"net\.pth does not exist"):
        load_pair(LARGE, checkpoint=str(tmp_path / "net.pth"), reference=str(tmp_path / "net.pth"))
