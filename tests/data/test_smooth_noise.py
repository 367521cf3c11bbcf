"""The random fields behind the phantoms."""

import numpy as np

from medlib.data.smooth_noise import smooth_noise


def test_is_the_same_field_at_every_size():
    coarse, fine = (smooth_noise(size, 0.2, np.random.default_rng(1)) for size in (40, 200))
    np.testing.assert_allclose(coarse, fine[2::5, 2::5], atol=1e-5)


def test_has_zero_mean_and_unit_variance():
    field = smooth_noise(512, 0.01, np.random.default_rng(2))
    assert abs(field.mean()) < 0.05
    assert abs(field.std() - 1) < 0.05


def test_neighbours_agree_within_a_feature_and_not_beyond():
    field = smooth_noise(256, 0.1, np.random.default_rng(3))
    near = np.corrcoef(field[:, :-3].ravel(), field[:, 3:].ravel())[0, 1]
    far = np.corrcoef(field[:, :-128].ravel(), field[:, 128:].ravel())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.3
