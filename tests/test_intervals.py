"""Bootstrap intervals: their coverage, their reproducibility, and samples that cannot give one."""

import numpy as np
import pytest

from medlib.intervals import bootstrap_interval, clustered_interval


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return np.corrcoef(a, b)[0, 1]


def interval(*samples, statistic=np.mean, seed: int = 0, **options) -> tuple[float, float]:
    return bootstrap_interval(statistic, *samples, generator=np.random.default_rng(seed), **options)


@pytest.mark.parametrize(("confidence", "least", "most"), [(0.95, 0.88, 0.99), (0.5, 0.38, 0.60)])
def test_the_mean_of_normals_is_covered_as_often_as_promised(confidence: float, least: float, most: float):
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        low, high = bootstrap_interval(
            np.mean, generator.normal(3.0, 2.0, 40), generator=generator, confidence=confidence, resamples=300
        )
        covered.append(low <= 3.0 <= high)
    assert least <= np.mean(covered) <= most


def test_the_width_for_a_mean_is_that_of_the_normal_theory():
    sample = np.random.default_rng(2).normal(0, 1, 400)
    low, high = interval(sample)
    assert high - low == pytest.approx(2 * 1.96 * sample.std() / 20, rel=0.08)
    assert low < sample.mean() < high


def test_paired_samples_are_drawn_together():
    x = np.random.default_rng(3).normal(size=30)
    low, high = interval(x, 2 * x + 1, statistic=correlation)
    assert low == pytest.approx(1) and high == pytest.approx(1)


def test_one_generator_one_interval():
    sample = [1.0, 2.0, 4.0, 8.0]
    assert interval(sample, seed=1) == interval(sample, seed=1)
    assert interval(np.arange(50) ** 1.5, seed=1) != interval(np.arange(50) ** 1.5, seed=2)


def test_the_global_random_state_and_the_sample_are_left_alone():
    sample = np.array([3.0, 1.0, 2.0])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    interval(sample)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.testing.assert_array_equal(sample, [3.0, 1.0, 2.0])


def test_equal_values_have_an_interval_of_no_width():
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_one_value_has_no_interval():
    assert interval([3.0]) is None


def test_a_few_undefined_resamples_are_left_out():
    x = np.arange(6.0)
    low, high = interval(x, x**2, statistic=correlation)
    assert 0.5 < low <= high <= 1 + 1e-12


@pytest.mark.parametrize(
    ("samples", "statistic", "message"),
    [
        (([],), np.mean, r"samples of \[0\] values; .* at least 1"),
        (([1.0, np.nan],), np.mean, "not finite"),
        (([1.0, np.inf],), np.mean, "not finite"),
        (([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), correlation, r"undefined on 2000 of 2000 resamples"),
        (([1.0, 2.0, 3.0], [1.0, 2.0]), correlation, r"samples of \[3, 2\] values; paired samples have one length"),
    ],
)
def test_samples_that_cannot_give_an_interval(samples: tuple, statistic, message: str):
    with pytest.raises(ValueError, match=message):
        interval(*samples, statistic=statistic)


def test_clusters_that_differ_widen_the_interval():
    generator = np.random.default_rng(4)
    noise = generator.normal(size=(4, 50))
    alike = clustered_interval(noise, np.random.default_rng(0))
    apart = clustered_interval(noise + np.array([[-3.0], [-1.0], [1.0], [3.0]]), np.random.default_rng(0))
    assert apart[1] - apart[0] > 5 * (alike[1] - alike[0])


def test_one_cluster_is_resampled_value_by_value():
    values = np.random.default_rng(5).normal(size=300)
    low, high = clustered_interval([values], np.random.default_rng(0))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(300), rel=0.12)


def test_a_single_value_has_no_clustered_interval():
    assert clustered_interval([[2.0]], np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("clusters", "said"), [([], "no cluster"), ([[1.0], []], "without values"), ([[np.nan]], "finite")]
)
def test_clusters_that_cannot_be_used(clusters: list, said: str):
    with pytest.raises(ValueError, match=said):
        clustered_interval(clusters, np.random.default_rng(0))
