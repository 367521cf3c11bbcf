"""Leverage of one step: closed forms, the transcription, the authors' variants, errors."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.transcriptions import plain_leverage
from medlib.boundary import leverage_step


def step(seed=0, images=4, size=64):
    generator = np.random.default_rng(seed)
    before = gaussian_filter(generator.normal(size=(images, size, size)), (0, 8, 8)) * 100
    after = before + gaussian_filter(generator.normal(size=before.shape), (0, 4, 4))
    return before, after, before > 0


@pytest.mark.parametrize("band", ["both_sides", "whole_image"])
@pytest.mark.parametrize("floor", ["image", "stack"])
@pytest.mark.parametrize("padding", ["replicate", "zeros"])
def test_every_variant_equals_the_transcription(band, floor, padding):
    before, after, masks = step()
    options = {"band": band, "floor": floor, "padding": padding}
    result = leverage_step(before, after, masks, tau=3, compression=2.5, **options)
    assert astuple(result) == pytest.approx(plain_leverage(before, after, masks, 3, 2.5, **options), rel=1e-12)


def test_a_plane_moved_by_a_constant_gives_that_many_pixels_per_point():
    row = np.mgrid[:40, :40][0].astype(float)
    before = np.stack([2 * (row - 19.5), 2 * (row - 9.5)])
    result = leverage_step(before, before - 3.0, before > 0, tau=3, compression=0.5)
    assert astuple(result) == pytest.approx((3, 3, 6), rel=1e-12)


def test_leverage_is_the_displacement_of_a_disc_and_scales_with_the_step():
    row, column = np.mgrid[:80, :80] - 40.2
    before = 4 * (25 - np.hypot(row, column))[None]
    one = leverage_step(before, before - 1, before > 0, tau=3, compression=2)
    assert one.mean == pytest.approx(0.125, rel=0.01) and one.p95 == pytest.approx(0.125, rel=0.02)
    double = leverage_step(before, before - 2, before > 0, tau=3, compression=2)
    assert astuple(double) == pytest.approx(tuple(2 * value for value in astuple(one)), rel=1e-12)


def test_the_authors_band_does_not_depend_on_tau_and_ours_does():
    before, after, masks = step()
    authors = [leverage_step(before, after, masks, tau, 1.0, band="whole_image") for tau in (3, 5)]
    ours = [leverage_step(before, after, masks, tau, 1.0) for tau in (3, 5)]
    assert authors[0] == authors[1]
    assert ours[0].p95 != ours[1].p95
    assert ours[0].region == authors[0].region


@pytest.mark.parametrize(("floor", "isolated"), [("image", True), ("stack", False)])
def test_companions_change_an_image_only_under_the_authors_floor(floor, isolated):
    before, after, masks = (values[:1] for values in step())
    steep, nothing = 1000 * before, np.zeros_like(masks)
    alone = leverage_step(before, after, masks, 3, 1.0, floor=floor)
    stack = [np.concatenate(pair) for pair in ((before, steep), (after, steep), (masks, nothing))]
    together = leverage_step(*stack, 3, 1.0, floor=floor)
    assert (together.mean == alone.mean) is isolated


def test_zero_padding_lowers_the_leverage_of_a_boundary_at_the_edge():
    column = np.mgrid[:40, :40][1].astype(float)
    before = (0.1 * (20 - column) + 50)[None]
    masks = np.zeros((1, 40, 40), bool)
    masks[:, 0, :20] = True
    ours = leverage_step(before, before + 1, masks, 1, 1.0)
    authors = leverage_step(before, before + 1, masks, 1, 1.0, padding="zeros")
    assert authors.mean < ours.mean


def test_images_without_boundary_count_only_in_the_region():
    before, after, masks = step()
    masks[1], masks[2] = False, True
    result = leverage_step(before, after, masks, 3, 1.0)
    kept = [0, 3]
    expected = leverage_step(before[kept], after[kept], masks[kept], 3, 1.0)
    assert (result.mean, result.p95) == (expected.mean, expected.p95)
    assert result.region == pytest.approx(np.abs(after - before).mean())


def test_a_flat_field_is_divided_by_the_smallest_slope_allowed():
    before = np.zeros((1, 16, 16))
    masks = np.zeros((1, 16, 16), bool)
    masks[:, 4:12, 4:12] = True
    assert leverage_step(before, before + 1e-6, masks, 2, 1.0).mean == pytest.approx(1)


def test_tensors_agree_and_nothing_is_changed():
    before, after, masks = (values.copy() for values in step())
    kept = before.copy(), after.copy(), masks.copy()
    tensors = [torch.from_numpy(values) for values in (before, after, masks)]
    assert leverage_step(*tensors, 3, 1.0) == leverage_step(before, after, masks, 3, 1.0)
    single = leverage_step(before.astype(np.float32), after.astype(np.float32), masks.astype(np.uint8), 3, 1.0)
    assert astuple(single) == pytest.approx(astuple(leverage_step(before, after, masks, 3, 1.0)), rel=1e-4)
    for values, original in zip((before, after, masks), kept, strict=True):
        np.testing.assert_array_equal(values, original)


BEFORE, AFTER, MASKS = step(images=2, size=16)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"compression": 0}, ValueError, "not the fraction 0.025"),
        ({"compression": -2.5}, ValueError, "percentage points"),
        ({"compression": 250}, ValueError, "between 0 and 100"),
        ({"compression": np.nan}, ValueError, "percentage points"),
        ({"masks": np.zeros_like(MASKS)}, ValueError, "All masks are empty"),
        ({"masks": np.ones_like(MASKS)}, ValueError, "every mask is empty or full"),
        ({"masks": MASKS[:, :8]}, ValueError, "resize the masks"),
        ({"masks": MASKS[0]}, ValueError, r"\(N, H, W\) is needed"),
        ({"masks": MASKS.astype(float)}, TypeError, "threshold it first"),
        ({"after": AFTER[:1]}, ValueError, "same batch"),
        ({"after": AFTER * np.nan}, ValueError, "`after` holds 512 NaN"),
        ({"tau": 0}, ValueError, "positive number of pixels"),
        ({"tau": 0.5}, ValueError, "tau of 1 or more"),
        ({"band": "inner"}, ValueError, "'inner' is unknown"),
        ({"floor": "batch"}, ValueError, "'batch' is unknown"),
        ({"padding": "wrap"}, ValueError, "'wrap' is unknown"),
    ],
)
def test_impossible_steps_are_refused_with_a_remedy(changed, error, message):
    arguments = {"before": BEFORE, "after": AFTER, "masks": MASKS, "tau": 3, "compression": 2.5} | changed
    with pytest.raises(error, match=message):
        leverage_step(**arguments)
