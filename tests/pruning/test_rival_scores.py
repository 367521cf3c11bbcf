"""The rivals of the dual-intervention scores are what they are called."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, masked
from medlib.pruning.budgets import select
from medlib.pruning.fisher import boundary_loss, low_resolution_mask
from medlib.pruning.groups import GroupValues
from medlib.pruning.rival_scores import magnitude_scores, random_scores, taylor_scores

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(2, size=64)


def sizes(values: GroupValues) -> list[tuple[int, int]]:
    return [(len(heads), len(channels)) for heads, channels in zip(values.heads, values.channels, strict=True)]


def test_the_magnitude_is_the_norm_of_what_a_group_owns(model):
    scores, block = magnitude_scores(model.encoder), model.encoder.blocks[1]
    rows = [part * 32 + 8 + i for part in range(3) for i in range(8)]
    owned = [block.attn.qkv.weight[rows], block.attn.qkv.bias[rows], block.attn.proj.weight[:, 8:16]]
    assert float(scores.heads[1][1]) == pytest.approx(float(torch.cat([t.detach().flatten() for t in owned]).norm()))
    owned = [block.mlp.lin1.weight[5], block.mlp.lin1.bias[5:6], block.mlp.lin2.weight[:, 5]]
    assert float(scores.channels[1][5]) == pytest.approx(float(torch.cat([t.detach() for t in owned]).norm()))


@torch.no_grad()
def losses(model: Segmenter, samples: SegmentationSet, masks: PruningMasks) -> np.ndarray:
    found = []
    with masked(model.encoder, masks):
        for sample, box in zip(samples, boxes_from_masks(samples.masks)):
            prompt = model.boxes([sample.image], box[None])
            logits = model.decode(model.encoder(model.inputs([sample.image])), prompt)[0]
            mask = low_resolution_mask(model.preprocessing, sample.mask, logits.shape)
            found.append(float(boundary_loss(logits.double(), mask)))
    return np.array(found)


def shrunk(model: Segmenter, block: int, channel: int, share: float) -> Segmenter:
    """The model with all that one channel owns multiplied by 1 − share."""
    edited = tiny_sam(size=64, width=32, depth=2)
    mlp = edited.encoder.blocks[block].mlp
    with torch.no_grad():
        for owned in (mlp.lin1.weight[channel], mlp.lin1.bias[channel], mlp.lin2.weight[:, channel]):
            owned.mul_(1 - share)
    return edited


def test_taylor_is_the_slope_of_the_loss_as_a_group_shrinks(model, samples):
    """Multiplying all of a group by 1 − ε changes each image's loss by −ε Σ θ ∂L/∂θ."""
    scores, keep = taylor_scores(model, samples), PruningMasks.keep_all(model.encoder)
    channel, share = int(scores.channels[0].argmax()), 0.02
    ends = [losses(shrunk(model, 0, channel, share * sign), samples, keep) for sign in (-1, 1)]
    slopes = (ends[1] - ends[0]) / (2 * share)
    assert float(scores.channels[0][channel]) == pytest.approx(np.abs(slopes).mean(), rel=0.02)


def test_taylor_takes_the_absolute_value_of_each_image(model, samples):
    both = taylor_scores(model, samples)
    alone = [taylor_scores(model, SegmentationSet.from_samples([samples[i]], "one")) for i in range(len(samples))]
    torch.testing.assert_close(both.heads[1], (alone[0].heads[1] + alone[1].heads[1]) / 2)
    assert all(parameter.grad is None for parameter in model.network.parameters())


def test_random_scores_follow_their_generator(model):
    first, again, other = (random_scores(model.encoder, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.channels[1], again.channels[1])
    assert not torch.equal(first.channels[1], other.channels[1])
    assert not torch.equal(first.channels[0], first.channels[1])


def test_any_of_them_chooses_masks(model, samples):
    blocks = encoder_blocks(model.encoder)
    for scores in (
        magnitude_scores(model.encoder),
        taylor_scores(model, samples),
        random_scores(model.encoder, np.random.default_rng(0)),
    ):
        assert sizes(scores) == [(block.heads, block.channels) for block in blocks]
        masks = PruningMasks(select(scores.heads, [1, 2]), select(scores.channels, [30, 40]))
        assert [int(gates.sum()) for gates in (*masks.heads, *masks.channels)] == [3, 2, 98, 88]
        with masked(model.encoder, masks), torch.no_grad():
            model.encoder(model.inputs(samples.images))
