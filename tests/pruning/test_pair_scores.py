"""Scores of a pair on several data sets, and how far its weights moved."""

import copy

import pytest
import torch

from medlib.data import SegmentationSet, polyp_phantoms
from medlib.models import tiny_sam
from medlib.pruning.fisher import boundary_fisher, cross_fisher
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.pair_scores import pair_scores, relative_movement
from medlib.pruning.scores import group_scores

torch.set_num_threads(1)


def test_the_reference_is_measured_on_all_data_sets_together():
    adapted, reference = (tiny_sam(size=64, width=32, depth=2, seed=seed) for seed in (0, 1))
    sets = [polyp_phantoms(1, size=64, seed=seed) for seed in (0, 1)]
    pooled = SegmentationSet.from_samples([sample for some in sets for sample in some], "both")
    before = boundary_fisher(reference, pooled)
    for found, some in zip(pair_scores(adapted, reference, sets), sets, strict=True):
        fisher = boundary_fisher(adapted, some)
        expected = group_scores(adapted.encoder, reference.encoder, fisher, cross_fisher(fisher, before))
        for ours, plain in ((found.zero, expected.zero), (found.reset, expected.reset)):
            torch.testing.assert_close(ours.heads, plain.heads)
            torch.testing.assert_close(ours.channels, plain.channels)


def test_weights_that_shrink_by_a_tenth_have_moved_by_a_ninth():
    reference = tiny_sam(size=64, width=32, depth=2).encoder
    adapted = copy.deepcopy(reference)
    block = encoder_blocks(adapted)[1]
    with torch.no_grad():
        for parameter in adapted.get_submodule(block.name).parameters():
            parameter.mul_(0.9)
    moved = relative_movement(adapted, reference)
    assert moved.heads[1].tolist() == pytest.approx([1 / 9] * block.heads, rel=1e-5)
    assert moved.channels[1].mean() == pytest.approx(1 / 9, rel=1e-5)
    assert not moved.heads[0].any() and not moved.channels[0].any()
