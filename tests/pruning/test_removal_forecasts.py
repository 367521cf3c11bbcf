"""One pass of gradients gives the scores that their own functions give, and the first-order term with its sign."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning.fisher import boundary_fisher, boundary_loss, low_resolution_mask
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.removal_forecasts import removal_forecasts
from medlib.pruning.rival_scores import taylor_scores
from medlib.pruning.scores import group_scores

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(3, size=64)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


def test_zero_and_taylor_are_the_scores_of_their_own_functions(model, samples):
    found, fisher = removal_forecasts(model, samples), boundary_fisher(model, samples)
    zero = group_scores(model.encoder, model.encoder, fisher, fisher).zero
    for ours, theirs in ((found.zero, zero), (found.taylor, taylor_scores(model, samples))):
        for kind in ("heads", "channels"):
            for one, other in zip(getattr(ours, kind), getattr(theirs, kind), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_the_sign_is_that_of_a_first_step_towards_removal(model, samples):
    """Shrinking what a head owns by a small share t changes the loss by t times the signed forecast."""
    signed, block = removal_forecasts(model, samples).signed, encoder_blocks(model.encoder)[1]
    t, parameters = 1e-3, dict(model.encoder.named_parameters())
    for head in range(block.heads):
        changes = []
        for share in (t, -t):
            before = {part.parameter: parameters[part.parameter].detach().clone() for part in block.head_parts}
            with torch.no_grad():
                for part in block.head_parts:
                    parameters[part.parameter].index_copy_(
                        part.axis, part.index[head],
                        before[part.parameter].index_select(part.axis, part.index[head]) * (1 - share),
                    )  # fmt: skip
            changes.append(mean_loss(model, samples))
            with torch.no_grad():
                for name, value in before.items():
                    parameters[name].copy_(value)
        assert (changes[0] - changes[1]) / (2 * t) == pytest.approx(float(signed.heads[1][head]), rel=0.05, abs=0.05)


def mean_loss(model: Segmenter, samples: SegmentationSet) -> float:
    with torch.no_grad():
        logits = model.decode(model.embed(samples.images), model.boxes(samples.images, boxes_from_masks(samples.masks)))
    masks = [low_resolution_mask(model.preprocessing, mask, logits.shape[1:]) for mask in samples.masks]
    return float(np.mean([float(boundary_loss(z.double(), m)) for z, m in zip(logits, masks, strict=True)]))
