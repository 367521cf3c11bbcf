"""Budgets become whole quotas that add up, the published counts come out, and the lowest scores go first."""

import math

import numpy as np
import pytest
import torch

from medlib.pruning.budgets import allocate, largest_budget, select

HEADS, CHANNELS, LAST = [12] * 12, [3072] * 12, (10, 11)
FLOOR = round(0.05 * 3072)
SENSITIVITY = np.random.default_rng(0).lognormal(sigma=1.0, size=12).tolist()
RULES = ("waterfill", "authors", "uniform")


@pytest.mark.parametrize("rule", RULES)
def test_the_published_headline_counts(rule: str):
    heads = allocate(SENSITIVITY, 0.5, HEADS, 1, LAST, rule)
    channels = allocate(SENSITIVITY, 0.7, CHANNELS, FLOOR, LAST, rule)
    assert (sum(heads), sum(channels)) == (72, 25_805)
    assert heads[10:] == channels[10:] == [0, 0]
    assert max(heads) <= 11 and max(channels) <= 3072 - FLOOR


def test_the_published_extreme_counts():
    """Stage 1 asks for more channels than the caps allow, stage 2 takes the rest from the last blocks."""
    first = tuple(range(10))
    heads = allocate(SENSITIVITY, 0.7, HEADS, 1, LAST, "authors"), allocate(SENSITIVITY, 0.14, HEADS, 1, first)
    with pytest.warns(
        UserWarning, match="asks for 35021 of 36864 units, but the caps allow 29180: a budget of 0.791558"
    ):
        channels = allocate(SENSITIVITY, 0.95, CHANNELS, FLOOR, LAST, "authors")
    assert channels == [2918] * 10 + [0, 0]
    assert max(heads[0]) == 11
    rest = allocate(SENSITIVITY, 0.158, CHANNELS, FLOOR, first, "authors")
    assert sum(map(sum, heads)) == 121
    assert sum(channels) + sum(rest) == 35_005


@pytest.mark.filterwarnings("ignore:budget")
def test_the_published_grid_has_24_distinct_budgets():
    found = {
        (
            sum(allocate(SENSITIVITY, h, HEADS, 1, LAST, "authors")),
            sum(allocate(SENSITIVITY, c, CHANNELS, FLOOR, LAST, "authors")),
        )
        for h in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        for c in (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95)
    }
    assert len(found) == 24


def test_the_authors_rule_takes_what_caps_refuse_from_the_most_sensitive_block():
    sensitivity, units = [1.0, 20.0, 40.0, 100.0], [192] * 4
    assert allocate(sensitivity, 0.6, units, 10, rule="authors") == [182, 21, 76, 182]
    assert allocate(sensitivity, 0.6, units, 10, rule="waterfill") == [182, 164, 82, 33]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(20))
def test_quotas_add_up_and_respect_caps(rule: str, seed: int):
    generator = np.random.default_rng(seed)
    units = generator.integers(2, 60, size=7)
    minimum = [generator.integers(1, count + 1) for count in units]
    protected = tuple(np.flatnonzero(generator.random(7) < 0.2).tolist())
    sensitivity = generator.lognormal(sigma=3, size=7)
    for budget in (0.0, largest_budget(units, minimum, protected) / 2, largest_budget(units, minimum, protected)):
        quotas = allocate(sensitivity, budget, units, minimum, protected, rule)
        assert sum(quotas) == round(budget * sum(units))
        assert all(0 <= q <= u - m for q, u, m in zip(quotas, units, minimum))
        assert all(quotas[b] == 0 for b in protected)
        assert all(type(q) is int for q in quotas)


@pytest.mark.parametrize("budget", [0.2, 0.5, 0.8])
def test_waterfill_is_one_level_cut_off_by_caps(budget: float):
    """Up to whole numbers, every block below its cap gives the same multiple of 1/sensitivity, and none gives more."""
    units, sensitivity = [100_000] * 6, [1.0, 2.0, 3.0, 5.0, 8.0, 40.0]
    quotas = allocate(sensitivity, budget, units, 1000)
    levels = [q * s for q, s in zip(quotas, sensitivity) if q < 99_000]
    assert max(levels) == pytest.approx(min(levels), rel=1e-3)
    assert all(99_000 * s <= min(levels) for q, s in zip(quotas, sensitivity) if q == 99_000)


def test_fractions_go_to_the_largest_remainders():
    assert allocate([1, 1, 1], 0.5, [10, 10, 2], 1) == [5, 5, 1]
    assert allocate([1.0, 1.0, 1.0], 4 / 30, [10] * 3, 1) == [2, 1, 1]
    assert allocate([10.0, 1.0, 1.0], 0.5, [20, 10, 10], 1, rule="uniform") == [10, 5, 5]
    assert allocate([5.0] * 3, 0.25, [8, 4, 8], 1, rule="uniform") == [2, 1, 2]


@pytest.mark.parametrize("rule", ["waterfill", "authors", "uniform"])
def test_a_tensor_of_sensitivities_will_do(rule: str):
    quota = allocate(torch.tensor(SENSITIVITY, dtype=torch.float64), 0.5, HEADS, 1, LAST, rule)
    assert quota == allocate(SENSITIVITY, 0.5, HEADS, 1, LAST, rule) and {type(count) for count in quota} == {int}


def test_the_scale_of_the_sensitivity_does_not_matter():
    for scale in (1e-30, 1e30):
        scaled = [scale * value for value in SENSITIVITY]
        for rule in RULES:
            assert allocate(scaled, 0.6, CHANNELS, 1, LAST, rule) == allocate(SENSITIVITY, 0.6, CHANNELS, 1, LAST, rule)


@pytest.mark.parametrize("rule", ["waterfill", "uniform"])
def test_a_budget_above_what_caps_allow_names_the_largest(rule: str):
    with pytest.raises(ValueError, match=r"asks for 115 of 144 units, but the caps allow 110: a budget of 0\.763889"):
        allocate(SENSITIVITY, 0.8, HEADS, 1, LAST, rule)
    assert sum(allocate(SENSITIVITY, largest_budget(HEADS, 1, LAST), HEADS, 1, LAST, rule)) == 110


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": 1.0}, r"budget is 1\.0, .* in \[0, 1\)"),
        ({"budget": -0.1}, r"budget is -0\.1"),
        ({"budget": math.nan}, "budget is nan"),
        ({"sensitivity": [1.0, math.nan]}, "the sensitivity of block 1 is nan"),
        ({"sensitivity": [0.0, 1.0]}, "the sensitivity of block 0 is 0.0"),
        ({"sensitivity": [1.0, math.inf]}, "the sensitivity of block 1 is inf"),
        ({"sensitivity": [1.0]}, "1 sensitivities for 2 blocks"),
        ({"minimum": 9}, "the minimum of block 0 is 9, but it has 8 units"),
        ({"minimum": 0}, "the minimum of block 0 is 0"),
        ({"minimum": [1, 1, 1]}, "3 minimums for 2 blocks"),
        ({"protected": [2]}, r"protected is \[2\], but the blocks are 0 to 1"),
        ({"rule": "fair"}, "the rule 'fair' is unknown. Choose one of waterfill, authors, uniform"),
    ],
)
def test_bad_requests_are_refused(changed, message: str):
    request = {"sensitivity": [1.0, 2.0], "budget": 0.5, "units": [8, 8], "minimum": 1} | changed
    with pytest.raises(ValueError, match=message):
        allocate(**request)


def test_the_lowest_scores_go_first_and_ties_in_order():
    scores = [torch.tensor([2.0, 1.0, 1.0, 1.0, 0.5]), torch.tensor([1.0, 2.0])]
    first, second = select(scores, [3, 0])
    assert first.tolist() == [1, 0, 0, 1, 0] and second.tolist() == [1, 1]
    assert first.dtype == torch.float32


@pytest.mark.parametrize(
    ("scores", "quota", "message"),
    [
        ([torch.ones(3)], [3], "the quota of block 0 is 3 of 3 groups, but at least one must stay. Give 0 to 2"),
        ([torch.ones(3)], [-1], "the quota of block 0 is -1"),
        ([torch.ones(3)], [1, 1], "2 quotas for the scores of 1 blocks"),
        ([torch.tensor([1.0, math.nan])], [1], "the scores of block 0 hold NaN"),
    ],
)
def test_bad_selections_are_refused(scores, quota, message: str):
    with pytest.raises(ValueError, match=message):
        select(scores, quota)
