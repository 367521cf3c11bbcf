"""Dual-intervention scores: what the loss expects from zeroing a group, and from resetting it to where it came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlib.pruning.groups import Block, GroupValues, encoder_blocks, group_sums


@dataclass(frozen=True, eq=False)
class GroupScores:
    """The two scores of every group of an encoder; the higher, the more the group is needed.

    Attributes:
        zero: expected rise of the loss when the group is set to zero.
        reset: expected rise of the loss when the group is set back to the reference's weights.
    """

    zero: GroupValues
    reset: GroupValues


@torch.no_grad()
def group_scores(
    encoder: nn.Module, reference: nn.Module, fisher: Mapping[str, Tensor], cross: Mapping[str, Tensor]
) -> GroupScores:
    """Second-order cost of two interventions on each head and each MLP channel (MedCore).

        Δzero_g = ½ Σ_{i ∈ g} F_i θ_i²,    Δreset_g = ½ Σ_{i ∈ g} √(F^M F^S + 10⁻³⁰)_i (θ_i − θ_i^S)².

    Args:
        encoder: with the adapted weights θ.
        reference: the same encoder with the weights θ^S that it was adapted from.
        fisher: F^M of the adapted weights; see `boundary_fisher`.
        cross: √(F^M F^S + 10⁻³⁰); see `cross_fisher`.

    Raises:
        TypeError: not an encoder of the SAM family.
        ValueError: `reference`, `fisher` or `cross` lacks a parameter or has another shape for it, or a value is not
            finite.
    """
    blocks, adapted = encoder_blocks(encoder), dict(encoder.named_parameters())
    original = dict(reference.named_parameters())
    given = {"the encoder": adapted, "the reference": original, "the Fisher information": fisher, "the cross": cross}
    _check_shapes(blocks, given)
    zero, reset = [], []
    for block in blocks:  # one at a time, so that no copy of the whole encoder is made
        names = [part.parameter for part in (*block.head_parts, *block.channel_parts)]
        zero.append(group_sums([block], {n: adapted[n].square().mul_(fisher[n].to(adapted[n])) for n in names}))
        changes = ((n, adapted[n] - original[n].to(adapted[n])) for n in names)
        reset.append(group_sums([block], {n: change.square_().mul_(cross[n].to(change)) for n, change in changes}))
    scores = GroupScores(_joined(zero).map(_half), _joined(reset).map(_half))
    _check_values(blocks, scores, given)
    return scores


def _half(values: Tensor) -> Tensor:
    return values / 2


def _joined(blocks: Sequence[GroupValues]) -> GroupValues:
    return GroupValues(
        tuple(heads for values in blocks for heads in values.heads),
        tuple(channels for values in blocks for channels in values.channels),
    )


def _check_shapes(blocks: Sequence[Block], given: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise ValueError unless each collection has every owned parameter in the shape that the encoder has it."""
    names = [part.parameter for block in blocks for part in (*block.head_parts, *block.channel_parts)]
    shapes = {name: given["the encoder"][name].shape for name in names}
    for owner, tensors in given.items():
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(
                f"{owner} lacks {len(missing)} of the {len(names)} parameters that groups own, such as {missing[0]}. "
                "Give one for this very encoder."
            )
        for name, shape in shapes.items():
            if tensors[name].shape != shape:
                raise ValueError(
                    f"{name} is {tuple(tensors[name].shape)} in {owner}, but {tuple(shape)} in the encoder. "
                    "Give one for this very encoder."
                )


def _check_values(blocks: Sequence[Block], scores: GroupScores, given: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise ValueError, naming the culprit, unless all scores are finite."""
    tensors = [values for kind in (scores.zero, scores.reset) for values in (*kind.heads, *kind.channels)]
    if all(bool(values.isfinite().all()) for values in tensors):
        return
    for owner, collection in given.items():
        for part in (part for block in blocks for part in (*block.head_parts, *block.channel_parts)):
            if not bool(collection[part.parameter].isfinite().all()):
                raise ValueError(f"{part.parameter} holds NaN or infinite values in {owner}. Repair or recompute it.")
    raise ValueError("the scores overflow although all that goes into them is finite. Use float64.")


def mixture(scores: Sequence[GroupScores], weights: Sequence[float]) -> GroupScores:
    """Average the scores of several datasets: Σ_r π_r Δ_r (MedCore, with π = .2, .3, .5 for its three polyp sets).

    Args:
        scores: of each dataset, for one encoder.
        weights: π_r ≥ 0, one a dataset, with sum 1.

    Raises:
        ValueError: the weights do not fit.
    """
    _check_weights(scores, weights)

    def average(*values: Tensor) -> Tensor:
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    first, *others = scores
    return GroupScores(
        first.zero.map(average, *(s.zero for s in others)), first.reset.map(average, *(s.reset for s in others))
    )


def mixing_weights(scores: GroupScores) -> Tensor:
    """How much the zeroing score counts in each block: α_b = (1 + ρ_b)/2 (MedCore).

    ρ_b is Pearson's correlation of the block's two head scores, 1 where one of them is the same for all heads. So the
    reset score counts only as far as it disagrees; the same α_b serves the block's MLP channels.

    Args:
        scores: of the encoder; for several datasets their `mixture`.

    Returns:
        (blocks,) in [0, 1].
    """
    pairs = zip(scores.zero.heads, scores.reset.heads, strict=True)
    return torch.stack([(1 + _correlation(zero, reset)) / 2 for zero, reset in pairs])


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    if first.min() == first.max() or second.min() == second.max():
        return torch.ones_like(first[0])
    # dividing by the largest value first keeps tiny scores from underflowing when they are squared
    centred = [values.double() / values.abs().max().double() for values in (first, second)]
    one, other = (values - values.mean() for values in centred)
    return ((one @ other) / (one.norm() * other.norm())).clamp(-1, 1).to(first)


def combine(
    scores_per_dataset: Sequence[GroupScores], alpha: Tensor, weights: Sequence[float], beta: float = 0.3
) -> GroupValues:
    """One score a group from two interventions and several datasets (MedCore).

        Q_r = α_b Δzero_r + (1 − α_b) Δreset_r,    Q = Σ_r π_r Q_r + β Var_r[Q_r],

    with the unweighted population variance over the datasets. It has squared units: on scores that are not
    `normalised` the balance that β strikes depends on the scale of the loss.

    Args:
        scores_per_dataset: one for each dataset r.
        alpha: (blocks,) in [0, 1]; see `mixing_weights`. 1 is zeroing only, 0 resetting only.
        weights: π_r ≥ 0, one a dataset, with sum 1.
        beta: 0 or above.

    Raises:
        ValueError: weights, alpha or beta do not fit.
    """
    _check_weights(scores_per_dataset, weights)
    blocks = len(scores_per_dataset[0].zero.heads)
    if alpha.shape != (blocks,) or not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ValueError(
            f"alpha is {alpha.tolist()}, but one number in [0, 1] is needed for each of {blocks} blocks. "
            "Take it from `mixing_weights`."
        )
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta is {beta}, but it weighs a variance. Give 0 or a positive number; MedCore uses 0.3.")

    def combined(kind: str, block: int) -> Tensor:
        zero = torch.stack([getattr(scores.zero, kind)[block] for scores in scores_per_dataset])
        reset = torch.stack([getattr(scores.reset, kind)[block] for scores in scores_per_dataset])
        share = alpha[block].to(zero)
        mixed = share * zero + (1 - share) * reset
        shares = torch.as_tensor(weights, dtype=mixed.dtype, device=mixed.device)
        return shares @ mixed + beta * mixed.var(0, correction=0)

    heads, channels = ([combined(kind, block) for block in range(blocks)] for kind in ("heads", "channels"))
    return GroupValues(tuple(heads), tuple(channels))


def _check_weights(scores: Sequence[GroupScores], weights: Sequence[float]) -> None:
    if len(scores) == 0 or len(scores) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(scores)} datasets. Give one weight a dataset.")
    if not all(weight >= 0 for weight in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise ValueError(
            f"the weights {list(weights)} are not shares of a whole: each must be 0 or above and their sum 1. "
            "Divide them by their sum."
        )


def normalised(scores: GroupScores) -> GroupScores:
    """Divide each score by its mean over the block, heads and channels apart (ours).

    Both scores of a block's heads then have the mean 1, and so have those of its channels: without this the larger of
    the two decides alone. A score that is 0 throughout a block stays 0.
    """

    def by_mean(values: Tensor) -> Tensor:
        mean = values.mean()
        return values / mean if mean > 0 else values

    return GroupScores(scores.zero.map(by_mean), scores.reset.map(by_mean))
