"""Do two scores agree, and did a score know what would happen?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from medlib.intervals import bootstrap_interval
from medlib.pruning.budgets import select
from medlib.pruning.groups import GroupValues

RESAMPLES = 500  # of the heads, for an interval


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's rank correlation of forecasts with outcomes.

    Attributes:
        value: in [−1, 1]; the mean over models.
        interval: 95 % bootstrap interval over heads.
    """

    value: float
    interval: tuple[float, float]


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
    return RankAgreement(_mean_correlation(*samples), interval)


def _mean_correlation(*arrays: np.ndarray) -> float:
    """Mean of Spearman's correlations of the first array with the second, the third with the fourth, and so on."""
    ranks = rankdata(np.stack(arrays), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1)
    return float(np.mean((ranks[::2] * ranks[1::2]).sum(axis=1) / (norms[::2] * norms[1::2])))


def rank_correlation_within(forecast: np.ndarray, outcome: np.ndarray, blocks: np.ndarray) -> float:
    """Rank correlation with each head ranked among the heads of its block, where pruning looks at the order.

    Args:
        forecast: (heads,) of one model.
        outcome: (heads,).
        blocks: (heads,) the block of each head.

    Returns:
        Correlation in [−1, 1] of the ranks, centred in each block, over all heads.

    >>> blocks = np.array([0, 0, 1, 1])
    >>> rank_correlation_within(np.array([1.0, 2, 30, 40]), np.array([70.0, 80, 1, 2]), blocks)
    1.0
    """
    ranks = np.empty((2, len(blocks)))
    for block in np.unique(blocks):
        inside = blocks == block
        some = rankdata([forecast[inside], outcome[inside]], axis=1)
        ranks[:, inside] = some - some.mean(axis=1, keepdims=True)
    return float(ranks[0] @ ranks[1] / np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))


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
