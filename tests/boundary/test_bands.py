"""Bands along a boundary: areas, the authors' rule, conventions at the edge of the image."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmarks.transcriptions import plain_band
from medlib.boundary import boundary_band, square_band


def disc(radius, size=256):
    row, column = np.mgrid[:size, :size] - size / 2
    return np.hypot(row, column) <= radius


@pytest.mark.parametrize("tau", [0.5, 1, 2**0.5, 3**0.5, 2, 3, 5**0.5, 5, 17.3, 200])
def test_the_band_equals_the_larger_of_the_two_distance_maps(tau):
    generator = np.random.default_rng(0)
    for shape in [(1, 9), (30, 41), (60, 60)]:
        mask = ndimage.gaussian_filter(generator.normal(size=shape), 2) > 0
        np.testing.assert_array_equal(boundary_band(mask, tau), plain_band(mask, tau))


@pytest.mark.parametrize("tau", [3, 5])
def test_the_band_of_a_disc_has_twice_tau_times_its_circumference(tau):
    area = boundary_band(disc(60), tau).sum()
    assert area == pytest.approx(2 * np.pi * 60 * 2 * tau, rel=0.12)
    assert area < 2 * np.pi * 60 * 2 * tau  # the first pixel of each side is at distance 1, not 1/2


def test_the_authors_rule_selects_the_whole_image_whatever_tau():
    for tau in (0.1, 3, 5):
        assert boundary_band(disc(60), tau, rule="whole_image").all()
    mask = disc(60)
    smaller = np.minimum(ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask))
    assert (smaller == 0).all()


def test_published_fractions_of_the_two_rules_on_a_disc():
    shares = [boundary_band(disc(50), tau).mean() for tau in (3, 5)]
    assert shares == pytest.approx([0.027, 0.047], abs=0.004)


@pytest.mark.parametrize("mask", [np.zeros((9, 9), bool), np.ones((9, 9), bool)], ids=["empty", "full"])
def test_a_mask_without_boundary_has_an_empty_band(mask):
    assert not boundary_band(mask, 3).any()


def test_a_mask_and_its_complement_share_their_band():
    mask = disc(20, size=64)
    np.testing.assert_array_equal(boundary_band(mask, 3), boundary_band(~mask, 3))


def test_square_band_states_what_it_sees_outside_of_the_image():
    mask = np.zeros((20, 20), bool)
    mask[:, :10] = True
    metrics, fisher = square_band(mask, 1), square_band(mask, 1, outside="foreground")
    assert metrics[:, 0].all() and metrics[0, :10].all()
    assert not fisher[:, :9].any()
    np.testing.assert_array_equal(metrics[1:-1, 1:], fisher[1:-1, 1:])
    square = np.ones((3, 3), bool)
    eroded = ndimage.binary_erosion(mask, square, border_value=1)
    np.testing.assert_array_equal(fisher, ndimage.binary_dilation(mask, square) & ~eroded)


def test_tensors_are_accepted_and_nothing_is_changed():
    mask = disc(20, size=64)
    kept = mask.copy()
    np.testing.assert_array_equal(boundary_band(torch.from_numpy(mask), 3), boundary_band(mask, 3))
    np.testing.assert_array_equal(mask, kept)


@pytest.mark.parametrize("tau", [0, -1, np.nan, np.inf])
def test_an_impossible_tau_is_refused(tau):
    with pytest.raises(ValueError, match="positive number of pixels"):
        boundary_band(disc(5, 16), tau)


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match=r"'inner' is unknown.*both_sides"):
        boundary_band(disc(5, 16), 3, rule="inner")
    with pytest.raises(ValueError, match=r"'mirror'.*background"):
        square_band(disc(5, 16), 3, outside="mirror")
