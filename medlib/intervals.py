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
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of paired samples.

    Args:
        statistic: takes as many 1-D arrays as there are samples and returns a number.
        samples: arrays of one length n ≥ 2; element i of each belongs to the same image (or seed, or step).
        generator: draws the resamples.
        confidence: coverage in (0, 1).
        resamples: number of bootstrap resamples.

    Returns:
        (low, high).

    Raises:
        ValueError: fewer than two elements, a value that is not finite, or a statistic that is undefined on more than
            a tenth of the resamples (a correlation of equal points, say); below that, such resamples are left out.

    >>> low, high = bootstrap_interval(np.mean, [1.0, 2.0, 3.0, 4.0], generator=np.random.default_rng(0))
    >>> 1.0 <= low < 2.5 < high <= 4.0
    True
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    if any(len(array) < 2 for array in arrays):
        raise ValueError(
            f"a bootstrap interval needs at least 2 values, not {len(arrays[0])}. Measure on more samples."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a sample holds values that are not finite. Find out why before giving an interval.")
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
