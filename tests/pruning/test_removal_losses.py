"""Removing a head for the record: the shortcut through the later blocks gives what masking the whole encoder gives."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSample, SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import PruningMasks, masked
from medlib.pruning.fisher import boundary_loss, low_resolution_mask
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.removal_losses import _without_each_head, removal_losses
from medlib.pruning.stages import EncoderStages
from medlib.store import ArtefactStore

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(3, size=64)


@pytest.fixture
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


@torch.no_grad()
def plain_rises(model: Segmenter, samples: SegmentationSet, head: tuple[int, int]) -> np.ndarray:
    """(2, images): against the truth and the own mask, with the whole encoder masked."""
    masks = PruningMasks.keep_all(model.encoder)
    masks.heads[head[0]][head[1]] = 0
    prompts = model.boxes(samples.images, boxes_from_masks(samples.masks))
    before = model.decode(model.embed(samples.images), prompts)
    with masked(model.encoder, masks):
        after = model.decode(model.embed(samples.images), prompts)
    truths = [low_resolution_mask(model.preprocessing, mask, before.shape[1:]) for mask in samples.masks]
    return np.array(
        [
            [
                float(boundary_loss(z.double(), mask) - boundary_loss(old.double(), mask))
                for z, old, mask in zip(after, before, some, strict=True)
            ]
            for some in (truths, [old > 0 for old in before])
        ]
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_every_head_is_removed_as_a_mask_removes_it(model, samples, tmp_path, batch):
    found = removal_losses(model, samples, ArtefactStore(tmp_path), batch=batch)
    heads = [(b, h) for b, block in enumerate(encoder_blocks(model.encoder)) for h in range(block.heads)]
    assert found.truth.shape == found.own.shape == (len(heads), len(samples))
    for row, head in enumerate(heads):
        truth, own = plain_rises(model, samples, head)
        np.testing.assert_allclose(found.truth[row], truth, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.own[row], own, rtol=1e-3, atol=1e-3)
    assert np.abs(found.own).max() > 0.01


@torch.no_grad()
def test_streams_of_both_encoders_lose_the_head_that_a_mask_removes(small_encoder, pictures, monkeypatch):
    """Without the neck, which takes other sizes in a small TinyViT."""
    monkeypatch.setattr(EncoderStages, "neck", lambda self, stream: stream)
    stages = EncoderStages(small_encoder)
    heads = [(b, h) for b, block in enumerate(stages.layout) for h in range(block.heads)]
    for (block, head), found in zip(heads, _without_each_head(stages, pictures), strict=True):
        masks = PruningMasks.keep_all(small_encoder)
        masks.heads[block][head] = 0
        with masked(small_encoder, masks):
            expected = stages.embedding(stages.stem(pictures))
        assert torch.allclose(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_the_model_is_left_as_it_was_and_the_result_is_kept(model, samples, tmp_path):
    digest, store = model.digest(), ArtefactStore(tmp_path)
    first = removal_losses(model, samples, store)
    assert model.digest() == digest and not model.network.training
    model.encoder.forward = None  # a second computation would fail
    again = removal_losses(model, samples, store)
    assert np.array_equal(first.truth, again.truth) and np.array_equal(first.own, again.own)


def test_an_empty_mask_is_refused(model, samples, tmp_path):
    empty = SegmentationSample("blank", samples[0].image, np.zeros_like(samples[0].mask))
    with pytest.raises(ValueError, match="blank"):
        removal_losses(model, SegmentationSet.from_samples([samples[1], empty], "two"), ArtefactStore(tmp_path))
