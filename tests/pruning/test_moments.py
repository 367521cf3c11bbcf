"""Moments are NumPy's, whatever the pictures, the weights and the offset of the numbers."""

import numpy as np
import pytest
import torch

from medlib.pruning.moments import Moments, at_resolution


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_numpy(rng, weighted):
    x = 3 + rng.normal(size=(2, 3, 4, 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(2, 3, 4, 2)) - 7 + x[..., :2]
    w = rng.uniform(size=(2, 3, 4)) if weighted else np.ones((2, 3, 4))
    moments = Moments(5, 2)
    for i in range(2):
        given = torch.from_numpy(w[i : i + 1]) if weighted else None
        moments.add(torch.from_numpy(x[i : i + 1]), torch.from_numpy(y[i : i + 1]), given)
    both = np.concatenate([x, y], axis=3).reshape(-1, 7)
    mean, covariance = np.average(both, axis=0, weights=w.ravel()), np.cov(both.T, aweights=w.ravel(), ddof=0)
    np.testing.assert_allclose(moments.mean, mean[:5], rtol=1e-12)
    np.testing.assert_allclose(moments.target_mean, mean[5:], rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, covariance[:5, :5], atol=1e-12 * covariance.max())
    np.testing.assert_allclose(moments.target_covariance, covariance[:5, 5:], atol=1e-12 * covariance.max())


def test_only_the_ratio_of_weights_matters(rng):
    x, w = torch.from_numpy(rng.normal(size=(1, 4, 4, 3))), torch.from_numpy(rng.uniform(size=(1, 4, 4)))
    one, seven = Moments(3), Moments(3)
    one.add(x, weights=w)
    seven.add(x, weights=7 * w)
    np.testing.assert_allclose(one.mean, seven.mean, rtol=1e-12)
    np.testing.assert_allclose(one.covariance, seven.covariance, rtol=1e-9)


def test_a_small_variance_on_a_large_offset_survives_single_precision(rng):
    pictures = [torch.from_numpy(rng.normal(1000, 0.1, (1, 8, 8, 3)).astype(np.float32)) for _ in range(4)]
    moments = Moments(3)
    for picture in pictures:
        moments.add(picture)
    expected = np.cov(torch.cat(pictures).double().reshape(-1, 3).T, ddof=0)
    np.testing.assert_allclose(moments.covariance, expected, atol=1e-3 * expected.max())


def test_inputs_that_never_vary_have_no_covariance():
    moments = Moments(2)
    for _ in range(3):
        moments.add(torch.tensor([0.1, -1234.5]).expand(1, 7, 7, 2))
    np.testing.assert_allclose(moments.covariance, 0, atol=1e-6)
    np.testing.assert_allclose(moments.mean, [0.1, -1234.5], rtol=1e-6)


def test_weights_take_the_grid_of_the_stream():
    stream = torch.zeros(1, 2, 2, 5, dtype=torch.float64)
    fine = torch.tensor([[[1.0, 3, 0, 0], [5, 7, 0, 0], [0, 0, 0, 0], [0, 0, 0, 8]]])
    assert at_resolution(fine, stream).tolist() == [[[4, 0], [0, 2]]]
    assert at_resolution(torch.tensor([[[3.0]]]), stream).tolist() == [[[3, 3], [3, 3]]]
    assert at_resolution(fine, stream).dtype == torch.float64
    assert at_resolution(None, stream) is None
