"""Smooth random fields that keep their features when the pixel grid changes."""

import math

import numpy as np

_BSPLINE_RMS = 151 / 315  # of a surface over unit-variance knots: the mean sum of squared weights along one axis


def smooth_noise(size: int, scale: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a twice differentiable random field on the unit square (ours).

    n(x, y) = Σ_jk w(x/s − j) w(y/s − k) ε_jk / (151/315) with the cubic B-spline w, knots ε ~ N(0, 1) on a
    lattice of spacing s. The knots are drawn before any pixel is looked at, so the same generator state gives
    the same field at every `size`, merely sampled more or less finely.

    Args:
        size: pixels a side, at least 1.
        scale: spacing s of the knots as a fraction of the side, above 0; features are about this wide.
        generator: the source of randomness; advanced by one lattice.

    Returns:
        float32 (size, size), mean about 0 and standard deviation about 1.

    >>> coarse = smooth_noise(32, 0.25, np.random.default_rng(0))
    >>> fine = smooth_noise(96, 0.25, np.random.default_rng(0))
    >>> bool(np.allclose(coarse, fine[1::3, 1::3], atol=1e-5))
    True
    """
    knots = generator.standard_normal((math.ceil(1 / scale) + 3,) * 2, dtype=np.float32)
    weights = _bspline_weights(size, scale, len(knots))
    return weights @ knots @ weights.T / _BSPLINE_RMS


def _bspline_weights(size: int, scale: float, knots: int) -> np.ndarray:
    """Weights (size, knots) of the cubic B-spline at the pixel centres; each row sums to 1."""
    position = (np.arange(size) + 0.5) / (size * scale)
    first = np.floor(position).astype(int)
    f = position - first
    four = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3], axis=1) / 6
    weights = np.zeros((size, knots), dtype=np.float32)
    weights[np.arange(size)[:, None], first[:, None] + np.arange(4)] = four
    return weights
