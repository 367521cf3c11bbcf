"""Head steps against MLP steps: ratios by hand, pairing, intervals."""

import numpy as np
import pytest

from medlib.boundary import LeverageStep, compare_steps


def steps(p95, region):
    return [LeverageStep(mean=1.0, p95=p, region=r) for p, r in zip(p95, region, strict=True)]


HEADS, MLPS = steps([4, 6, 8], [2, 2, 6]), steps([1, 9, 2], [1, 4, 1])


def test_ratios_by_hand():
    summary = compare_steps(HEADS, MLPS)
    assert (summary.blr95, summary.rlr, summary.bsr) == (3, 2, 1.5)
    assert summary.win_rate95 == pytest.approx(2 / 3)
    assert (summary.median_difference, summary.pairs) == (3, 3)


def test_mappings_use_all_steps_for_medians_and_common_starts_for_pairs():
    heads = {(0.3, 0.5): HEADS[0], (0.4, 0.5): HEADS[1], (0.5, 0.5): HEADS[2]}
    mlps = {(0.5, 0.5): MLPS[2], (0.3, 0.5): MLPS[0], (0.9, 0.9): MLPS[1]}
    summary = compare_steps(heads, mlps)
    assert summary.blr95 == 3
    assert (summary.win_rate95, summary.median_difference, summary.pairs) == (1, 4.5, 2)


def test_swapping_the_kinds_inverts_the_ratios():
    forth, back = compare_steps(HEADS, MLPS), compare_steps(MLPS, HEADS)
    assert (back.blr95, back.rlr, back.bsr) == pytest.approx((1 / forth.blr95, 1 / forth.rlr, 1 / forth.bsr))
    assert back.median_difference == -forth.median_difference
    assert back.win_rate95 == pytest.approx(1 - forth.win_rate95)


def random_steps(seed, pairs, factor):
    generator = np.random.default_rng(seed)
    heads = steps(factor * generator.lognormal(0, 0.3, pairs), generator.lognormal(0, 0.3, pairs))
    return heads, steps(generator.lognormal(0, 0.3, pairs), generator.lognormal(0, 0.3, pairs))


def test_intervals_hold_their_estimate_and_narrow_with_more_pairs_and_less_confidence():
    few, many = compare_steps(*random_steps(0, 8, 2.0)), compare_steps(*random_steps(0, 200, 2.0))
    for summary in (few, many):
        for name in ("blr95", "rlr", "bsr", "win_rate95", "median_difference"):
            low, high = getattr(summary, f"{name}_interval")
            assert low <= getattr(summary, name) <= high
    assert np.ptp(many.blr95_interval) < np.ptp(few.blr95_interval)
    assert many.blr95_interval[0] < 2 < many.blr95_interval[1]
    half = compare_steps(*random_steps(0, 8, 2.0), confidence=0.5)
    assert np.ptp(half.blr95_interval) < np.ptp(few.blr95_interval)


def test_resampling_keeps_pairs_together():
    base = np.random.default_rng(1).lognormal(0, 1, 20)
    summary = compare_steps(steps(base + 1, base), steps(base, base))
    assert summary.median_difference_interval == pytest.approx((1, 1))
    assert summary.rlr_interval == (1, 1)


def test_the_generator_decides_and_the_default_repeats():
    pair = random_steps(0, 12, 2.0)
    assert compare_steps(*pair) == compare_steps(*pair)
    seeded = [compare_steps(*pair, generator=np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert seeded[0] == seeded[1] != seeded[2]


def test_one_pair_has_no_interval():
    summary = compare_steps(HEADS[:1], MLPS[:1])
    assert summary.blr95 == 4 and summary.pairs == 1
    assert [value for name, value in vars(summary).items() if name.endswith("_interval")] == [None] * 5


@pytest.mark.parametrize(
    ("heads", "mlps", "options", "error", "message"),
    [
        (HEADS, MLPS[:2], {}, ValueError, "3 head steps and 2 MLP steps.*paired by position"),
        ([], [], {}, ValueError, "at least one of each"),
        (HEADS, dict(enumerate(MLPS)), {}, TypeError, "two sequences, or two mappings"),
        ({"a": HEADS[0]}, {"b": MLPS[0]}, {}, ValueError, "no starting point"),
        (steps([0], [1]), MLPS[:1], {}, ValueError, "did not change the logits"),
        (HEADS[:1], steps([1], [np.nan]), {}, ValueError, "MLP steps.*positive and finite"),
        (HEADS, MLPS, {"confidence": 95}, ValueError, "pass 0.95 for 95 %"),
    ],
)
def test_steps_that_cannot_be_compared_are_refused(heads, mlps, options, error, message):
    with pytest.raises(error, match=message):
        compare_steps(heads, mlps, **options)
