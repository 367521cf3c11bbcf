"""The segmenter that a profile names: the right one, trained once, and clear errors about checkpoints."""

from pathlib import Path

import pytest

from medlib.models import load_segmenter, prepare_segmenter
from medlib.profiles import Segmentation, load_profile
from medlib.store import ArtefactStore

TINY = Segmentation(model="tiny_sam", training_steps=2, images=1, image_size=64, data="phantoms")
REAL = load_profile("laptop").segmentation
LARGE = load_profile("paper").segmentation


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_laptop_profile_runs_lite_medsam():
    segmenter = load_segmenter(REAL)
    assert segmenter.name == "LiteMedSAM" and not segmenter.network.training
    manifest = prepare_segmenter(REAL)
    assert manifest["model"] == "lite_medsam" and manifest["parameters"] == 9_791_300
    assert len(manifest["digest"]) == 64


def test_a_tiny_model_is_trained_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = load_segmenter(TINY)
    assert first.preprocessing.size == 64 and not first.network.training
    with monkeypatch.context() as patch:
        patch.setattr("medlib.models.prepared.train_segmenter", lambda *_, **__: pytest.fail("trained again"))
        assert load_segmenter(TINY).digest() == first.digest()
        manifest = prepare_segmenter(TINY)
        assert manifest == prepare_segmenter(TINY) and manifest["model"] == "tiny_sam"
    longer = load_segmenter(TINY.model_copy(update={"training_steps": 3}))
    assert longer.digest() != first.digest()
    elsewhere = load_segmenter(TINY, store=ArtefactStore(cache.parent / "other"))
    assert elsewhere.digest() == first.digest(), "training repeats itself"


def test_a_damaged_model_is_trained_again(cache: Path, caplog: pytest.LogCaptureFixture):
    digest = load_segmenter(TINY).digest()
    (payload,) = cache.glob("tiny-sam-*/tensors.safetensors")
    payload.write_bytes(payload.read_bytes()[:1000])
    assert load_segmenter(TINY).digest() == digest
    assert "is damaged" in caplog.text


def test_a_change_of_the_recipe_trains_again():
    """The learning rate, the phantoms and the model's width stand in `prepared` itself."""
    seen = []

    class Recorder(ArtefactStore):
        def fetch(self, name, inputs, build, code):
            seen.extend(module.__name__ for module in code)
            return super().fetch(name, inputs, build, code)

    load_segmenter(TINY, store=Recorder())
    assert {"medlib.models.prepared", "medlib.models.training", "medlib.data.polyps"} <= set(seen)


@pytest.mark.parametrize("settings", [TINY, REAL])
def test_a_checkpoint_where_none_is_used(settings: Segmentation, tmp_path: Path):
    (tmp_path / "net.pth").touch()
    message = f"runs {settings.model}, which takes no checkpoint. Leave it empty, or use profile 'paper'"
    with pytest.raises(ValueError, match=message):
        load_segmenter(settings, checkpoint=str(tmp_path / "net.pth"))


def test_the_paper_profile_needs_a_checkpoint():
    with pytest.raises(ValueError, match=r"needs its weights\. Give the path of medsam_vit_b\.pth: -p checkpoint"):
        load_segmenter(LARGE)
    assert prepare_segmenter(LARGE) == {"model": "medsam_vit_b", "weights": "the reader's checkpoint"}


def test_a_checkpoint_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"net\.pth does not exist"):
        load_segmenter(LARGE, checkpoint=str(tmp_path / "net.pth"))


def test_a_checkpoint_of_another_kind(tmp_path: Path):
    (tmp_path / "net.pth").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        load_segmenter(LARGE, checkpoint=str(tmp_path / "net.pth"))
