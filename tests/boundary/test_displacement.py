"""Predicted and measured displacement: exact cases, second order, lost points, errors."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medlib.boundary import (
    compare_displacements,
    contour_change,
    fitted_order,
    measured_displacement,
    predicted_displacement,
)

ROW, COLUMN = np.mgrid[:128, :128].astype(float)


def disc_logits(radius, centre=(64.3, 62.8), steepness=1.0):
    """Signed distance to a circle times a slope: positive inside."""
    return steepness * (radius - np.hypot(ROW - centre[0], COLUMN - centre[1]))


def smooth_field(seed, width, height):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=ROW.shape), width)
    return height * noise / noise.std()


def test_a_shrunken_disc_retreats_by_the_change_of_radius():
    before, after = disc_logits(40, steepness=2.5), disc_logits(38.2, steepness=2.5)
    predicted, measured = predicted_displacement(before, after), measured_displacement(before, after)
    np.testing.assert_allclose(predicted.pixels, 1.8, atol=1e-5)
    np.testing.assert_allclose(measured.pixels, 1.8, atol=1e-5)
    assert predicted.dropped == 0 and not measured.lost.any()


def test_a_grown_disc_has_negative_displacement():
    measured = measured_displacement(disc_logits(30), disc_logits(34))
    np.testing.assert_allclose(measured.pixels, -4, atol=1e-5)


def test_points_lie_on_the_circle_and_normals_point_into_the_mask():
    centre = np.array([64.3, 62.8])
    result = predicted_displacement(disc_logits(40, centre, steepness=3), disc_logits(39, centre, steepness=3))
    from_centre = result.points - centre
    np.testing.assert_allclose(np.linalg.norm(from_centre, axis=1), 40, atol=1e-4)
    np.testing.assert_allclose(result.normals, -from_centre / 40, atol=1e-4)
    np.testing.assert_allclose(result.slopes, 3, atol=1e-3)
    assert len(np.unique(result.points, axis=0)) == len(result.points)
    assert len(result.points) > 2 * np.pi * 40


def test_rescaling_the_logits_moves_nothing():
    before = disc_logits(40) + smooth_field(0, 6, 1)
    for result in (predicted_displacement(before, 3 * before), measured_displacement(before, 3 * before)):
        np.testing.assert_allclose(result.pixels, 0, atol=1e-7)


def test_a_translation_is_the_shift_along_the_normal_to_first_order():
    shift = np.array([0.05, -0.03])
    before, after = disc_logits(40), disc_logits(40, centre=(64.3 + shift[0], 62.8 + shift[1]))
    expected = predicted_displacement(before, after).normals @ shift
    np.testing.assert_allclose(predicted_displacement(before, after).pixels, expected, atol=1e-4)
    np.testing.assert_allclose(measured_displacement(before, after).pixels, expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_of_the_prediction_falls_with_the_square_of_the_perturbation(seed):
    before = disc_logits(40) + smooth_field(seed, 6, 2)
    change = smooth_field(seed + 10, 8, 1)
    sizes = np.array([0.02, 0.04, 0.08, 0.16])
    errors = []
    for size in sizes:
        predicted = predicted_displacement(before, before + size * change)
        measured = measured_displacement(before, before + size * change)
        errors.append(np.median(np.abs(predicted.pixels - measured.pixels)))
    assert fitted_order(sizes, errors) == pytest.approx(2, abs=0.05)
    fit = compare_displacements(predicted, measured)
    assert fit.slope == pytest.approx(1, abs=0.03) and fit.correlation > 0.99 and fit.lost_fraction == 0


def test_the_measured_point_is_a_zero_of_the_changed_field():
    before, after = disc_logits(30), disc_logits(30) * (1 + 0.1 * np.sin(ROW / 9)) + np.cos(COLUMN / 11)
    result = measured_displacement(before, after)
    moved = result.points + result.pixels[:, None] * result.normals
    exact = (30 - np.hypot(moved[:, 0] - 64.3, moved[:, 1] - 62.8)) * (1 + 0.1 * np.sin(moved[:, 0] / 9))
    np.testing.assert_allclose(exact + np.cos(moved[:, 1] / 11), 0, atol=1e-4)


def test_points_are_lost_where_half_of_the_object_vanishes():
    before = disc_logits(30)
    after = np.where(COLUMN < 64, -20.0, before)
    result = measured_displacement(before, after, max_distance=5)
    left = result.points[:, 1] < 55
    assert result.lost[left].all() and np.isnan(result.pixels[left]).all()
    right = result.points[:, 1] > 72
    np.testing.assert_allclose(result.pixels[right], 0, atol=1e-3)
    fit = compare_displacements(predicted_displacement(before, after), result)
    assert fit.lost_fraction == result.lost.mean() and fit.n == np.count_nonzero(~result.lost)


def test_a_contour_beyond_the_search_distance_is_lost():
    assert measured_displacement(disc_logits(40), disc_logits(34), max_distance=5).lost.all()
    assert not measured_displacement(disc_logits(40), disc_logits(34), max_distance=6.5).lost.any()


def test_the_nearest_crossing_of_the_same_direction_is_taken():
    before = disc_logits(40)
    distance = np.hypot(ROW - 64.3, COLUMN - 62.8)
    ring = np.minimum(38 - distance, distance - 25)  # a ring: the inner edge falls along the normal
    np.testing.assert_allclose(measured_displacement(before, ring, max_distance=30).pixels, 2, atol=0.02)
    thin = np.minimum(distance - 39.5, 44 - distance)  # 0.5 px inwards falls, 4 px outwards rises
    np.testing.assert_allclose(measured_displacement(before, thin).pixels, -4, atol=0.02)
    halo = np.maximum(38 - distance, np.minimum(distance - 42, 46 - distance))  # rises 6 px out and 2 px in
    np.testing.assert_allclose(measured_displacement(before, halo).pixels, 2, atol=0.02)


def test_points_near_the_edge_of_the_image_are_dropped_and_counted():
    before = disc_logits(30, centre=(2.0, 64.0))
    result = predicted_displacement(before, before - 1)
    assert result.dropped > 0
    assert result.points.min() >= 2 and result.points.max() <= 125


def test_flat_ground_gives_no_point_but_a_finite_rest():
    before = np.clip(disc_logits(40), 0, None) - np.clip(-disc_logits(40), 0, None) * (COLUMN < 60)
    result = predicted_displacement(before, before - 0.1)
    assert np.isfinite(result.pixels).all() and (result.slopes > 0).all()


def test_tensors_and_float32_agree_with_arrays_and_inputs_stay_as_they_were():
    before, after = disc_logits(40), disc_logits(38) + smooth_field(1, 6, 0.3)
    kept = before.copy(), after.copy()
    for function in (predicted_displacement, measured_displacement):
        expected = function(before, after)
        tensors = function(torch.from_numpy(before).requires_grad_(), torch.from_numpy(after))
        np.testing.assert_array_equal(tensors.pixels, expected.pixels)
        single = function(before.astype(np.float32), after.astype(np.float32))
        assert np.median(np.abs(single.pixels)) == pytest.approx(np.median(np.abs(expected.pixels)), rel=1e-4)
    np.testing.assert_array_equal(before, kept[0])
    np.testing.assert_array_equal(after, kept[1])


def holed(value):
    logits = disc_logits(40)
    logits[3, 3] = value
    return logits


@pytest.mark.parametrize("function", [predicted_displacement, measured_displacement])
@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        (disc_logits(40) + 1000, disc_logits(40), ValueError, "never change sign"),
        (disc_logits(40) - 1000, disc_logits(40), ValueError, "never change sign"),
        (holed(np.nan), disc_logits(40), ValueError, "`before` holds 1 NaN or infinite"),
        (disc_logits(40), holed(np.inf), ValueError, "`after` holds 1 NaN or infinite"),
        (disc_logits(40), disc_logits(40)[:64], ValueError, "same size"),
        (disc_logits(40)[None], disc_logits(40)[None], ValueError, r"\(H, W\) is needed"),
        (disc_logits(40) > 0, disc_logits(40) > 0, TypeError, "not a mask"),
        (np.eye(6) - 0.5, np.eye(6), ValueError, "too small"),
        (disc_logits(1, centre=(0, 0)), disc_logits(1), ValueError, "crop the image less tightly"),
    ],
)
def test_fields_without_a_usable_contour_are_refused(function, before, after, error, message):
    with pytest.raises(error, match=message):
        function(before, after)


@pytest.mark.parametrize("distance", [0, -3, np.inf, np.nan])
def test_an_impossible_search_distance_is_refused(distance):
    with pytest.raises(ValueError, match="how many pixels to look"):
        measured_displacement(disc_logits(40), disc_logits(39), max_distance=distance)


def test_the_change_on_the_contour_of_a_constant_shift_is_the_shift():
    y, x = np.mgrid[:48, :48] - 23.5
    disc = 12.0 - np.hypot(x, y)
    assert contour_change(disc, disc - 0.7) == pytest.approx(0.7, abs=1e-9)
    elsewhere = np.where(np.hypot(x, y) < 5, 3.0, 0.0)
    assert contour_change(disc, disc + elsewhere) == pytest.approx(0.0, abs=1e-3)
