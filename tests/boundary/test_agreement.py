"""Comparing displacements, and the order of an error."""

from dataclasses import replace

import numpy as np
import pytest

from medlib.boundary import (
    Displacement,
    compare_displacements,
    displacements,
    error_order,
    fits_by_size,
    fitted_order,
    measured_displacement,
    pool,
    predicted_displacement,
)


def displacement(pixels, seed=0):
    pixels = np.asarray(pixels, dtype=float)
    points = np.random.default_rng(seed).normal(size=(len(pixels), 2))
    return Displacement(
        points=points,
        normals=np.tile([1.0, 0.0], (len(pixels), 1)),
        slopes=np.ones(len(pixels)),
        pixels=pixels,
        lost=np.isnan(pixels),
        dropped=0,
    )


def test_numbers_by_hand():
    fit = compare_displacements(displacement([1, -1, 2, 0.5]), displacement([2, -2, 4, np.nan]))
    assert fit.slope == 2 and fit.correlation == pytest.approx(1)
    assert (fit.median_relative_error, fit.lost_fraction, fit.n) == (0.5, 0.25, 3)


def test_only_points_predicted_to_move_little_are_kept_on_request():
    fit = compare_displacements(displacement([0.5, -0.5, 3, 4]), displacement([0.5, -0.5, np.nan, 9]), largest=1)
    assert (fit.slope, fit.lost_fraction, fit.n) == (1, 0, 2)


def test_a_constant_displacement_has_a_slope_but_no_correlation():
    fit = compare_displacements(displacement([1, 1, 1]), displacement([1.1, 1.1, 1.1]))
    assert np.isnan(fit.correlation) and fit.slope == pytest.approx(1.1)


def test_nothing_moved_is_no_error():
    fit = compare_displacements(displacement([0, 0]), displacement([0, 0]))
    assert fit.median_relative_error == 0 and np.isnan(fit.slope)


def test_foreign_or_empty_comparisons_are_refused():
    with pytest.raises(ValueError, match="compute both from the same `before`"):
        compare_displacements(displacement([1, 2]), displacement([1, 2], seed=1))
    with pytest.raises(ValueError, match="raise `max_distance`"):
        compare_displacements(displacement([1, 2]), displacement([np.nan, np.nan]))
    with pytest.raises(ValueError, match="they move by 1 to 2"):
        compare_displacements(displacement([1, 2]), displacement([1, 2]), largest=0.1)


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        displacement([1.0]).pixels = 0
    assert replace(displacement([1.0]), dropped=3).dropped == 3


def test_the_order_is_the_slope_of_the_logarithms():
    sizes = np.array([0.01, 0.1, 1])
    assert fitted_order(sizes, 7 * sizes**1.5) == pytest.approx(1.5, abs=1e-12)


@pytest.mark.parametrize(
    ("sizes", "errors", "message"),
    [
        ([0.1], [0.1], "at least two different sizes"),
        ([0.1, 0.1], [0.1, 0.2], "at least two different sizes"),
        ([0.1, 0.2], [0.1], "two lists of one length"),
        ([0.1, 0.2], [0.0, 0.1], "errors that are exactly 0"),
        ([0.1, 0.2], [np.nan, 0.1], "positive and finite"),
    ],
)
def test_an_order_needs_positive_numbers(sizes, errors, message):
    with pytest.raises(ValueError, match=message):
        fitted_order(sizes, errors)


class TestErrorOrder:
    def field_and_change(self) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.mgrid[:96, :96] / 48 - 1.0
        return 6 * (0.4 - x**2 - 1.3 * y**2), np.cos(2 * x + y) + 0.5 * np.sin(3 * y)

    def test_is_two_and_matches_displacements_size_by_size(self):
        field, change = self.field_and_change()
        found = error_order(field, change, [0.2, 0.1, 0.05])
        assert found.order == pytest.approx(2.0, abs=0.1)
        predicted, measured = displacements(field, field + 0.1 * change)
        assert found.errors[1] == np.nanmedian(np.abs(measured.pixels - predicted.pixels))

    def test_says_when_the_whole_contour_was_lost(self):
        field, _ = self.field_and_change()
        with pytest.raises(ValueError, match=r"At size 100 every contour point was lost: start from smaller"):
            error_order(field, np.ones_like(field), [100.0, 1.0])


def test_displacements_follow_one_contour_for_both():
    y, x = np.mgrid[:96, :96] / 48 - 1.0
    field, change = 6 * (0.4 - x**2 - 1.3 * y**2), 0.2 * np.cos(2 * x + y)
    predicted, measured = displacements(field, field + change)
    assert np.array_equal(predicted.pixels, predicted_displacement(field, field + change).pixels)
    assert np.array_equal(measured.pixels, measured_displacement(field, field + change).pixels)
    assert np.array_equal(predicted.points, measured.points)


def test_pooling_keeps_every_point_in_order_and_selects_by_predicted_size():
    first, second = displacement([0.1, -0.5, 2.0]), displacement([0.05, 4.0], seed=1)
    joined = pool([first, second])
    assert np.array_equal(joined.pixels, [0.1, -0.5, 2.0, 0.05, 4.0])
    assert np.array_equal(joined.points, np.concatenate([first.points, second.points]))
    measured = replace(joined, pixels=joined.pixels * np.array([1.0, 1.0, 3.0, 1.0, 1.0]))
    assert compare_displacements(joined, measured, largest=1.0).n == 3
    assert compare_displacements(joined, measured, largest=3.0, smallest=1.0).slope == pytest.approx(3.0)
    with pytest.raises(ValueError, match="No point is predicted to move by 5 to 6 pixels"):
        compare_displacements(joined, measured, largest=6.0, smallest=5.0)


def test_pooling_nothing_is_refused():
    with pytest.raises(ValueError, match="no contour to pool"):
        pool([])


def test_fits_by_size_say_which_ranges_hold_nothing_and_which_lost_everything():
    predicted = displacement([0.05, -0.2, 0.4, 5.0])
    measured = displacement([0.05, -0.2, 0.8, np.nan])
    small, middle, empty, large = fits_by_size(predicted, measured, [0.0, 0.3, 1.0, 3.0, np.inf])
    assert small == compare_displacements(predicted, measured, largest=0.3)
    assert (middle.slope, middle.n) == (pytest.approx(2.0), 1)
    assert empty.n == 0 and np.isnan(empty.lost_fraction) and np.isnan(empty.slope)
    assert large.n == 0 and large.lost_fraction == 1.0


@pytest.mark.parametrize("edges", [[1.0], [0.0, 0.0], [1.0, 0.5]])
def test_ranges_need_increasing_edges(edges):
    with pytest.raises(ValueError, match="at least two increasing limits"):
        fits_by_size(displacement([1.0]), displacement([1.0]), edges)
