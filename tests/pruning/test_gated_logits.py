"""Gated logits are those of the masked model, computed once for the same content."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medlib.data import polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import PruningMasks, gated_logits, masked, random_masks
from medlib.store import ArtefactStore

torch.set_num_threads(1)
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
    monkeypatch.setattr(model, "logits", lambda *_, **__: pytest.fail("computed again"))
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
    assert entries(store) == 5


def test_misfits_are_refused_and_nothing_is_kept(model, masks, images, store):
    with pytest.raises(ValueError, match="one mask a block"):
        gated_logits(model, PruningMasks(masks.heads[:1], masks.channels), images, BOXES, store)
    with pytest.raises(ValueError, match="outside the image"):
        gated_logits(model, masks, images, BOXES + 10, store)
    assert entries(store) == 0
