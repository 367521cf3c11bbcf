"""Agreement of scores is Spearman's, and groups that change sides are counted as a list would."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from medlib.pruning import GroupValues
from medlib.pruning.score_comparison import exchanged, rank_advantage, rank_agreement, rank_within_blocks


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_it_is_the_mean_of_spearmans_correlations(generator):
    forecasts, outcomes = generator.normal(size=(3, 20)), generator.normal(size=(3, 20))
    found = rank_agreement(list(forecasts), list(outcomes), generator)
    assert found.value == pytest.approx(np.mean([spearmanr(*pair).statistic for pair in zip(forecasts, outcomes)]))
    assert found.interval[0] < found.value < found.interval[1] and found.heads == 60


def test_the_interval_narrows_with_more_heads(generator):
    widths = []
    for heads in (12, 200):
        score = generator.normal(size=heads)
        low, high = rank_agreement([score], [score + generator.normal(size=heads)], generator).interval
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_advantage_is_the_difference_and_pairs_the_heads(generator):
    """Of two scores that are nearly the same, the difference is known far better than either."""
    outcome, noise = generator.normal(size=40), generator.normal(size=40)
    first, second = outcome + noise, outcome + 1.001 * noise
    found = rank_advantage([first], [second], [outcome], generator)
    alone = [spearmanr(score, outcome).statistic for score in (first, second)]
    assert found.value == pytest.approx(alone[0] - alone[1])
    assert found.interval[1] - found.interval[0] < 0.05


def test_within_blocks_the_scale_of_a_block_does_not_matter(generator):
    blocks, score = np.repeat([0, 1, 2], 5), generator.normal(size=15)
    outcome = score + 100.0 * np.array([2, 0, 1])[blocks]
    assert rank_within_blocks([score], [outcome], blocks) == pytest.approx(1)
    assert rank_agreement([score], [outcome], generator).value < 0.9


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_groups_that_change_sides_are_counted(generator, share):
    sizes = (4, 7)
    one, other = ([torch.from_numpy(generator.normal(size=size)) for size in sizes] for _ in range(2))
    quota = [round(share * size) for size in sizes]
    lost = [[set(values.argsort()[:n].tolist()) for values, n in zip(some, quota)] for some in (one, other)]
    expected = sum(len(a - b) for a, b in zip(*lost)) / sum(quota)
    found = exchanged(GroupValues(tuple(one), tuple(one)), GroupValues(tuple(other), tuple(other)), share)
    assert found.heads == found.channels == pytest.approx(expected)


def test_nothing_to_compare_is_an_error():
    values = GroupValues((torch.ones(2),), (torch.ones(8),))
    with pytest.raises(ValueError, match="removes nothing"):
        exchanged(values, values, 0.1)
