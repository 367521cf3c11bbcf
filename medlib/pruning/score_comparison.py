"""Do two scores agree, and did a score know what would happen?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medlib.intervals import bootstrap_interval
from medlib.pruning.budgets import select
from medlib.pruning.groups import GroupValues

RESAMPLES = 500  # of the heads, for an interval


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's rank correlation of forecasts with outcomes, or a difference of two.

    Attributes:
        value: the mean over models.
        interval: 95 % bootstrap interval over heads; None for a single head.
        heads: number of heads in all models.
    """

    value: float
    interval: tuple[float, float] | None
    heads: int


def rank_agreement(
    forecasts: Sequence[np.ndarray], outcomes: Sequence[np.ndarray], generator: np.random.Generator
) -> RankAgreement:
    """How well one score ranks what happened to all heads, averaged over models of one architecture.

    Heads are drawn for the interval, the same ones in all models.

    Args:
        forecasts: one array (heads,) a model.
        outcomes: what happened to the same heads; the higher the forecast, the higher it should be.
        generator: draws the heads.

    Raises:
        ValueError: the arrays differ in length, or hold values that are not finite or the same for all heads.

    >>> scores, losses = [np.arange(9.0)], [np.arange(9.0) ** 3]
    >>> round(rank_agreement(scores, losses, np.random.default_rng(0)).value, 6)
    1.0
    """
    samples = [array for pair in zip(forecasts, outcomes, strict=True) for array in pair]
    interval = bootstrap_interval(_mean_correlation, *samples, generator=generator, resamples=RESAMPLES)
    return RankAgreement(_mean_correlation(*samples), interval, sum(map(len, outcomes)))


def rank_advantage(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    outcomes: Sequence[np.ndarray],
    generator: np.random.Generator,
) -> RankAgreement:
    """How much better the first score ranks what happened than the second: the difference of their `rank_agreement`.

    Args:
        first: one array (heads,) a model.
        second: forecasts of the same heads.
        outcomes: what happened to them.
        generator: draws the heads, the same ones for both scores.

    Raises:
        ValueError: see `rank_agreement`.
    """
    samples = [array for three in zip(first, second, outcomes, strict=True) for array in three]

    def difference(*arrays: np.ndarray) -> float:
        better, worse = (
            _mean_correlation(*(array for pair in zip(arrays[i::3], arrays[2::3]) for array in pair)) for i in (0, 1)
        )
        return better - worse

    interval = bootstrap_interval(difference, *samples, generator=generator, resamples=RESAMPLES)
    return RankAgreement(difference(*samples), interval, sum(map(len, outcomes)))


def _mean_correlation(*arrays: np.ndarray) -> float:
    """Mean of Spearman's correlations of the first array with the second, the third with the fourth, and so on."""
    ranks = _centred_ranks(np.stack(arrays))
    norms = np.linalg.norm(ranks, axis=1)
    return float(np.mean((ranks[::2] * ranks[1::2]).sum(axis=1) / (norms[::2] * norms[1::2])))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (…, heads) minus their mean, ties sharing theirs: half of those below minus half of those above."""
    return np.sign(values[..., :, None] - values[..., None, :]).sum(axis=-1) / 2


def rank_within_blocks(forecasts: Sequence[np.ndarray], outcomes: Sequence[np.ndarray], blocks: np.ndarray) -> float:
    """Rank correlation with each head ranked among the heads of its block, where pruning looks at the order.

    Args:
        forecasts: one array (heads,) a model.
        outcomes: what happened to the same heads.
        blocks: (heads,) the block of each head.

    Returns:
        Correlation in [−1, 1] of the ranks, centred in each block, over all heads; the mean over models.

    >>> blocks = np.array([0, 0, 1, 1])
    >>> rank_within_blocks([np.array([1.0, 2, 30, 40])], [np.array([70.0, 80, 1, 2])], blocks)
    1.0
    """
    pairs = zip(forecasts, outcomes, strict=True)
    return float(np.mean([_correlation(*(_ranks_within(blocks, values) for values in pair)) for pair in pairs]))


def _ranks_within(blocks: np.ndarray, values: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(blocks))
    for block in np.unique(blocks):
        ranks[blocks == block] = _centred_ranks(values[blocks == block])
    return ranks


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return first @ second / np.sqrt((first @ first) * (second @ second))


@dataclass(frozen=True)
class Exchanged:
    """Share of the removed heads, and of the removed channels, that another score would have kept."""

    heads: float
    channels: float


def exchanged(first: GroupValues, second: GroupValues, share: float = 0.5) -> Exchanged:
    """How much of what one score removes another one keeps, when each block loses the same share of its groups.

    Args:
        first: scores of an encoder's groups.
        second: other scores of the same groups.
        share: of each block's heads and channels to remove, in (0, 1); rounded, and one group stays.

    Raises:
        ValueError: a score is not finite, the numbers of blocks or groups differ, or nothing would be removed.

    >>> import torch
    >>> one, other = (GroupValues((torch.tensor(h),), (torch.arange(4.0),)) for h in ([1.0, 2, 3, 4], [1.0, 3, 2, 4]))
    >>> exchanged(one, other)
    Exchanged(heads=0.5, channels=0.0)
    """
    return Exchanged(_exchanged(first.heads, second.heads, share), _exchanged(first.channels, second.channels, share))


def _exchanged(first: Sequence, second: Sequence, share: float) -> float:
    quota = [min(round(share * len(values)), len(values) - 1) for values in first]
    if not sum(quota):
        raise ValueError(f"a share of {share} removes nothing, so there is nothing to compare. Give a larger share.")
    masks = zip(select(first, quota), select(second, quota), strict=True)
    return sum(float(((1 - one) * other).sum()) for one, other in masks) / sum(quota)
