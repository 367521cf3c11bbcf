"""Bootstrap intervals."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap


def bootstrap_interval(
    statistic: Callable[..., float],
    *samples: Sequence[float],
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a statistic of paired samples.

    Args:
        statistic: takes as many 1-D arrays as there are samples and returns a number.
        samples: arrays of one length n ≥ 1; element i of each belongs to the same image (or seed, or step).
        generator: draws the resamples.
        confidence: coverage in (0, 1).
        resamples: number of bootstrap resamples.

    Returns:
        (low, high); None when there is one value only, from which nothing can be said about its spread.

    Raises:
        ValueError: no elements, a value that is not finite, or a statistic that is undefined on more than
            a tenth of the resamples (a correlation of equal points, say); below that, such resamples are left out.

    >>> low, high = bootstrap_interval(np.mean, [1.0, 2.0, 3.0, 4.0], generator=np.random.default_rng(0))
    >>> 1.0 <= low < 2.5 < high <= 4.0
    True
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    if any(len(array) != len(arrays[0]) for array in arrays) or len(arrays[0]) == 0:
        raise ValueError(
            f"samples of {[len(array) for array in arrays]} values; paired samples have one length, at least 1. "
            "Pass one value of each for every image."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a sample holds values that are not finite. Find out why before giving an interval.")
    if len(arrays[0]) == 1:
        return None
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        drawn = bootstrap(
            arrays, statistic, paired=True, vectorized=False, method="percentile", n_resamples=resamples, rng=generator
        ).bootstrap_distribution  # fmt: skip
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < 0.9 * resamples:
        raise ValueError(
            f"the statistic is undefined on {resamples - len(defined)} of {resamples} resamples. Use more samples."
        )
    low, high = np.percentile(defined, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def clustered_interval(
    clusters: Sequence[Sequence[float]],
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float] | None:
    """Percentile interval of the mean of cluster means, drawing clusters first and values within each after that.

    Values that share a cluster (images judged with one trained model, say) are not independent of each other; drawing
    whole clusters says how much another cluster might have changed.

    Args:
        clusters: values of each cluster, at least one cluster with at least one value.
        generator: draws the resamples.
        confidence: coverage in (0, 1).
        resamples: number of bootstrap resamples.

    Returns:
        (low, high); None for a single value.

    Raises:
        ValueError: no clusters, an empty one, or a value that is not finite.

    >>> low, high = clustered_interval([[1.0, 2.0], [3.0, 4.0]], np.random.default_rng(0))
    >>> 1.0 <= low < 2.5 < high <= 4.0
    True
    """
    arrays = [np.asarray(cluster, dtype=float) for cluster in clusters]
    if not arrays or not all(len(array) for array in arrays):
        raise ValueError("there is no cluster, or one without values. Give at least one value in each.")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a cluster holds values that are not finite. Find out why before giving an interval.")
    if sum(len(array) for array in arrays) == 1:
        return None
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(len(arrays), size=len(arrays))
        means[i] = np.mean([generator.choice(arrays[k], len(arrays[k])).mean() for k in drawn])
    low, high = np.percentile(means, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)
