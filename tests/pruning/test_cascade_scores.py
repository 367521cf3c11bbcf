"""Scores by method: each is what its parts say, the masks are on, and rivals need no reference."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSet, medical_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning.cascade_scores import WITH_REFERENCE, MethodScores, check_method, method_scores
from medlib.pruning.fisher import Fisher, block_sensitivity, boundary_fisher, cross_fisher
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks
from medlib.pruning.rival_scores import taylor_scores
from medlib.pruning.scores import combine, group_scores, mixing_weights, mixture, normalised

torch.set_num_threads(1)
WEIGHTS = [0.25, 0.75]


@pytest.fixture(scope="module")
def reference() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2, neck=16)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2, neck=16, seed=1)


@pytest.fixture(scope="module")
def samples() -> list[SegmentationSet]:
    return list(medical_phantoms(2, size=64, seed=9).values())[:2]


@pytest.fixture(scope="module")
def fisher_of_reference(reference: Segmenter, samples: list[SegmentationSet]) -> Fisher:
    return boundary_fisher(reference, samples[0])


@pytest.fixture(scope="module")
def scored(model, reference, samples, fisher_of_reference):
    def scored(method: str, masks: PruningMasks | None = None, **options) -> MethodScores:
        options = {
            "masks": masks or PruningMasks.keep_all(model.encoder),
            "reference_fisher": fisher_of_reference if method in WITH_REFERENCE else None,
            "generator": np.random.default_rng(0),
        } | options
        return method_scores(method, model, reference, samples, WEIGHTS, **options)

    return scored


def equal(one, other) -> bool:
    pairs = zip((*one.heads, *one.channels), (*other.heads, *other.channels), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=0) for a, b in pairs)


@pytest.mark.parametrize("method", ["dual", "dual_normalised", "zero", "reset"])
def test_mixtures_of_two_interventions(scored, model, reference, samples, fisher_of_reference, method: str):
    fishers = [boundary_fisher(model, some) for some in samples]
    scores = [
        group_scores(model.encoder, reference.encoder, fisher, cross_fisher(fisher, fisher_of_reference))
        for fisher in fishers
    ]
    if method == "dual_normalised":
        scores = [normalised(some) for some in scores]
    fixed = {"zero": torch.ones(2), "reset": torch.zeros(2)}
    alpha = fixed[method] if method in fixed else mixing_weights(mixture(scores, WEIGHTS))
    found = scored(method, beta=0.2)
    assert equal(found.values, combine(scores, alpha, WEIGHTS, 0.2))
    torch.testing.assert_close(found.alpha, alpha)
    blocks = encoder_blocks(model.encoder)
    sums = [block_sensitivity(blocks, fisher) for fisher in fishers]
    assert found.sensitivity == pytest.approx([0.25 * a + 0.75 * b for a, b in zip(*sums, strict=True)])


def test_given_mixing_weights_are_used(scored):
    assert equal(scored("dual", alpha=torch.ones(2)).values, scored("zero").values)
    assert not equal(scored("dual", alpha=torch.zeros(2)).values, scored("zero").values)


def test_taylor_scores_are_weighed_over_the_datasets(scored, model, samples):
    first, second = (taylor_scores(model, some) for some in samples)
    assert equal(scored("taylor").values, first.map(lambda a, b: 0.25 * a + 0.75 * b, second))


def test_random_scores_come_from_the_generator(scored):
    first = scored("random").values
    assert equal(scored("random").values, first)
    assert not equal(scored("random", generator=np.random.default_rng(1)).values, first)


def test_masks_are_on_while_the_model_is_measured(scored, model):
    masks = PruningMasks.keep_all(model.encoder)
    masks.heads[0][1] = 0
    found = scored("zero", masks).values.heads[0]
    assert found[1] == 0 and (found[[0, 2, 3]] > 0).all()
    assert not any(module._forward_pre_hooks for module in model.network.modules())


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match=r"method 'best' is unknown\. Use one of: dual, dual_normalised, zero"):
        check_method("best")
