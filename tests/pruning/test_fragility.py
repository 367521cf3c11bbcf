"""Leverage of steps image by image: against the pooled functions, closed forms, and planted fragility."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from medlib.boundary import compare_steps, leverage_step
from medlib.pruning.budget_grid import GridStep
from medlib.pruning.fragility import (
    StepLeverage,
    companion_change,
    compare_on_images,
    growth_exponents,
    leverage_against_loss,
    measure_steps,
    partial_rank_correlation,
)

IMAGES = 5
AUTHORS = {"band": "whole_image", "floor": "stack", "padding": "zeros"}


def step(start: tuple[int, int], end: tuple[int, int], points: float = 2.0) -> GridStep:
    return GridStep(start, end, points)


def fields(generator: np.random.Generator) -> tuple[dict, np.ndarray]:
    """Logits of three models on discs of growing radius, and the discs."""
    row, column = np.mgrid[:48, :48] - 23.5
    radii = np.arange(IMAGES) + 8.0
    dense = [radius - np.hypot(row, column) for radius in radii]
    changes = generator.normal(size=(2, IMAGES, 48, 48))
    logits = {(0, 0): dense, (1, 0): [z + c for z, c in zip(dense, changes[0])]}
    logits[0, 1] = [z + 0.3 * c for z, c in zip(dense, changes[1])]
    return logits, np.stack([z > 0 for z in dense])


def planted(generator: np.random.Generator, factor: float) -> tuple[list[StepLeverage], list[StepLeverage]]:
    """Head steps whose boundary leverage is `factor` times that of channel steps, up to noise."""
    kinds = {}
    for kind, scale in (("heads", factor), ("channels", 1.0)):
        kinds[kind] = [
            StepLeverage(
                step((i, 0), (i + 1, 0) if kind == "heads" else (i, 1)),
                scale * generator.lognormal(sigma=0.1, size=IMAGES),
                generator.lognormal(sigma=0.1, size=IMAGES),
            )
            for i in range(4)
        ]
    return kinds["heads"], kinds["channels"]


def test_each_image_is_measured_alone():
    logits, masks = fields(np.random.default_rng(0))
    taken = step((0, 0), (1, 0), points=3.0)
    found = measure_steps([taken], logits, masks, tau=3)[0]
    for image in range(IMAGES):
        stacks = (np.stack([logits[place][image]]) for place in (taken.start, taken.end))
        expected = leverage_step(*stacks, masks[image : image + 1], tau=3, compression=3.0)
        assert found.p95[image] == expected.p95 and found.region[image] == expected.region
    fewer = {place: z[:2] for place, z in logits.items()}
    np.testing.assert_array_equal(measure_steps([taken], fewer, masks[:2], tau=3)[0].p95, found.p95[:2])


def test_conventions_reach_the_measurement():
    logits, masks = fields(np.random.default_rng(0))
    taken = [step((0, 0), (1, 0))]
    whole = [measure_steps(taken, logits, masks, tau, band="whole_image")[0].p95 for tau in (1, 5)]
    np.testing.assert_array_equal(*whole)
    assert not np.allclose(whole[0], measure_steps(taken, logits, masks, 1)[0].p95)


def test_a_planted_ratio_is_found_inside_its_interval():
    summary = compare_on_images(*planted(np.random.default_rng(1), 2.0), np.random.default_rng(0))
    low, high = summary.blr95_interval
    assert 1.8 < low < 2.0 < high < 2.3 and summary.blr95 == pytest.approx(2.0, rel=0.1)
    assert summary.rlr == pytest.approx(1.0, rel=0.1) and summary.bsr == pytest.approx(summary.blr95 / summary.rlr)
    assert summary.win_rate95 == 1 and summary.win_rate95_interval == (1, 1) and summary.pairs == 4
    assert summary.median_difference == pytest.approx(1.0, rel=0.2)


def test_it_agrees_with_compare_steps_on_medians():
    heads, channels = planted(np.random.default_rng(2), 1.3)
    here = compare_on_images(heads, channels, np.random.default_rng(0))

    def medians(steps):
        return {s.step.start: type("Step", (), {"p95": np.median(s.p95), "region": np.median(s.region)}) for s in steps}

    there = compare_steps(medians(heads), medians(channels))
    for name in ("blr95", "rlr", "bsr", "win_rate95", "median_difference", "pairs"):
        assert getattr(here, name) == pytest.approx(getattr(there, name)), name


def test_images_carry_the_interval_not_steps():
    generator = np.random.default_rng(3)
    heads, channels = planted(generator, 2.0)
    copies = [StepLeverage(s.step, s.p95, s.region) for s in heads * 10], channels * 10
    few = compare_on_images(heads, channels, np.random.default_rng(0))
    many = compare_on_images(*copies, np.random.default_rng(0))
    assert many.blr95_interval == few.blr95_interval


def test_one_image_has_no_interval():
    heads, channels = planted(np.random.default_rng(4), 2.0)
    alone = [[StepLeverage(s.step, s.p95[:1], s.region[:1]) for s in steps] for steps in (heads, channels)]
    assert compare_on_images(*alone, np.random.default_rng(0)).blr95_interval is None


def test_steps_without_a_common_start_are_refused():
    heads, channels = planted(np.random.default_rng(5), 2.0)
    with pytest.raises(ValueError, match="share no start"):
        compare_on_images(heads[:1], channels[1:], np.random.default_rng(0))


def test_partial_rank_correlation_takes_out_what_both_owe_to_the_third():
    generator = np.random.default_rng(6)
    held = generator.normal(size=400)
    x, y = (held + 0.5 * generator.normal(size=400) for _ in range(2))
    assert spearmanr(x, y).statistic > 0.7
    assert abs(partial_rank_correlation(x, y, held)) < 0.15
    assert partial_rank_correlation(x, x + 0.1 * y, held) > 0.9
    assert partial_rank_correlation(x, -x, held) == pytest.approx(-1)
    assert np.isnan(partial_rank_correlation(held, y, held))


def test_partial_rank_correlation_is_that_of_residuals():
    generator = np.random.default_rng(7)
    x, y, held = generator.normal(size=(3, 40)) + generator.normal(size=40)
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (x, y, held)]
    left = [values - np.polyval(np.polyfit(ranks[2], values, 1), ranks[2]) for values in ranks[:2]]
    assert partial_rank_correlation(x, y, held) == pytest.approx(np.corrcoef(*left)[0, 1])


@pytest.mark.parametrize("power", [0.5, 1.0, 1.7])
def test_growth_exponents_of_power_laws_whose_factor_depends_on_start_and_image(power):
    images = np.arange(1.0, IMAGES + 1)
    steps = [
        StepLeverage(step((k, 0), (k + 1, j), points), factor * images * points ** (power - 1), np.ones(IMAGES))
        for k, factor in enumerate((3.0, 0.2))
        for j, points in enumerate((0.5 + k, 1.0 + k, 2.0 + 3 * k))
    ]
    alone = StepLeverage(step((9, 0), (10, 0), 5.0), np.full(IMAGES, 99.0), np.ones(IMAGES))
    np.testing.assert_allclose(growth_exponents([*steps, alone]), power)


def test_one_to_one_pairs_do_not_cross():
    heads, channels = planted(np.random.default_rng(4), 2.0)
    same = [StepLeverage(step((0, 0), s.step.end), s.p95, s.region) for s in heads]
    others = [StepLeverage(step((0, 0), s.step.end), s.p95, s.region) for s in channels]
    assert compare_on_images(same, others, np.random.default_rng(0)).pairs == 16
    assert compare_on_images(same, others, np.random.default_rng(0), one_to_one=True).pairs == 4


def test_leverage_goes_with_loss_beyond_the_size_of_steps():
    generator = np.random.default_rng(8)
    sizes = generator.uniform(1, 4, size=80)
    reach = sizes + generator.normal(scale=0.3, size=80)
    steps = [
        StepLeverage(step((0, k), (1, k), size), np.full(IMAGES, r / size), np.ones(IMAGES))
        for k, (size, r) in enumerate(zip(sizes, reach))
    ]
    noise = 0.02 * generator.normal(size=(80, IMAGES))
    value, (low, high) = leverage_against_loss(steps, reach[:, None] + noise, np.random.default_rng(0))
    assert 0.9 < low <= value <= high
    value, _ = leverage_against_loss(steps, sizes[:, None] + 30 * noise, np.random.default_rng(0))
    assert abs(value) < 0.25
    single = [StepLeverage(s.step, s.p95[:1], s.region[:1]) for s in steps]
    assert leverage_against_loss(single, reach[:, None], np.random.default_rng(0))[1] is None


def test_companions_matter_only_through_the_floor():
    generator = np.random.default_rng(9)
    row, column = np.mgrid[:40, :40] - 19.5
    before = [scale * (200 - row**2 - column**2) for scale in (1.0, 3.0, 3.0, 0.2, 0.2)]  # slopes from 0 upward
    after = [z + c for z, c in zip(before, generator.normal(size=(IMAGES, 40, 40)))]
    found = companion_change(before, after)  # the first image: once with steep companions, once with flat ones
    assert found.shape == (IMAGES,) and (found >= 0).all() and found[0] > 0.01
    steep, flat = (
        leverage_step(stack, np.stack([after[0], *stack[1:]]), np.ones((3, 40, 40), bool), 3, 1.0, **AUTHORS).p95
        for stack in (np.stack([before[0], *before[1:3]]), np.stack([before[0], *before[3:]]))
    )
    assert steep < flat  # their script agrees about the direction: a higher floor, a smaller leverage
    alike = companion_change([*before[:3], *before[1:3]], [*after[:3], *after[1:3]])
    assert alike[0] == 0
    with pytest.raises(ValueError, match="at least 2"):
        companion_change(before[:1], after[:1])
