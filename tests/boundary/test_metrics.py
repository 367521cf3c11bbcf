"""The four scores: equal to their definitions, closed forms, degenerate masks, errors."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmarks.transcriptions import plain_boundary_f1, plain_dice, plain_hd95, plain_iou
from medlib.boundary import boundary_f1, dice, hd95, iou, segmentation_scores


def disc(radius, size=64, centre=None):
    row, column = np.mgrid[:size, :size]
    centre = centre or (size / 2, size / 2)
    return np.hypot(row - centre[0], column - centre[1]) <= radius


def blobs(generator, shape):
    noise = ndimage.gaussian_filter(generator.normal(size=shape), generator.uniform(0, 6), mode="nearest")
    return noise > generator.normal() * noise.std() / 2


def assert_equals_definitions(pred, target):
    expected = (
        plain_dice(pred, target),
        plain_iou(pred, target),
        plain_boundary_f1(pred, target),
        plain_hd95(pred, target),
    )
    assert astuple(segmentation_scores(pred, target)) == expected
    assert (dice(pred, target), iou(pred, target), boundary_f1(pred, target), hd95(pred, target)) == expected


@pytest.mark.parametrize("seed", range(60))
def test_scores_equal_the_definitions_bit_for_bit_on_blobs_that_touch_the_edge(seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 90, size=2))
    assert_equals_definitions(blobs(generator, shape), blobs(generator, shape))


@pytest.mark.parametrize("radius", [1, 2, 3, 7])
@pytest.mark.parametrize("tolerance", [True, False])
def test_boundary_f1_equals_its_definition_for_every_radius_and_convention(radius, tolerance):
    generator = np.random.default_rng(radius)
    for shape in [(40, 70), (5, 33), (64, 64)]:
        pred, target = blobs(generator, shape), blobs(generator, shape)
        assert boundary_f1(pred, target, radius, tolerance) == plain_boundary_f1(pred, target, radius, tolerance)


def corner_pixel(size=64):
    mask = np.zeros((size, size), dtype=bool)
    mask[0, 0] = True
    return mask


@pytest.mark.parametrize(
    ("pred", "target"),
    [
        (np.ones((64, 64), bool), np.ones((64, 64), bool)),
        (np.ones((64, 64), bool), corner_pixel()),
        (corner_pixel(), corner_pixel()[::-1, ::-1]),
        (disc(20, centre=(0, 10)), disc(20, centre=(10, 0))),
        (disc(3, centre=(5, 5)), disc(4, centre=(58, 58))),
        (disc(4), disc(30) & ~disc(28)),
    ],
    ids=[
        "whole images",
        "whole and pixel",
        "opposite corners",
        "touching edges",
        "far apart",
        "disc in a ring",
    ],
)
def test_degenerate_masks_equal_the_definitions(pred, target):
    assert_equals_definitions(pred, target)


def test_crowded_surfaces_take_the_distance_map_and_stay_exact():
    pred, target = np.random.default_rng(0).random((2, 80, 80)) > 0.5
    assert hd95(pred, target) == plain_hd95(pred, target)


def test_empty_masks_follow_the_stated_conventions():
    empty, full = np.zeros((30, 50), bool), np.ones((30, 50), bool)
    assert astuple(segmentation_scores(empty, empty)) == (1, 1, 1, 0)
    assert astuple(segmentation_scores(empty, full)) == (0, 0, 0, 50)
    assert astuple(segmentation_scores(full, empty)) == (0, 0, 0, 50)


def test_hd95_of_a_shifted_disc_is_the_length_of_the_shift():
    mask = disc(20, size=100)
    assert hd95(np.roll(mask, (3, -4), axis=(0, 1)), mask) == 5.0
    assert hd95(np.roll(mask, (0, 7), axis=(0, 1)), mask) == 7.0


def test_a_shift_of_three_and_two_pixels_hardly_costs_boundary_f1_with_the_tolerance():
    lesion = disc(8)
    moved = np.roll(lesion, (3, -2), axis=(0, 1))
    assert dice(moved, lesion) == pytest.approx(0.70, abs=0.02)
    assert boundary_f1(moved, lesion) == pytest.approx(0.94, abs=0.005)
    assert boundary_f1(moved, lesion, tolerance=False) < 0.6
    square = np.zeros((64, 64), bool)
    square[20:39, 20:39] = True
    moved = np.roll(square, (3, -2), axis=(0, 1))
    assert dice(moved, square) == pytest.approx(0.75, abs=0.01)
    assert boundary_f1(moved, square) == pytest.approx(0.88, abs=0.01)


def test_scores_do_not_depend_on_the_order_of_the_masks_nor_on_padding_the_image():
    generator = np.random.default_rng(3)
    pred, target = blobs(generator, (50, 40)), blobs(generator, (50, 40))
    pred[[0, -1]] = target[[0, -1]] = pred[:, [0, -1]] = target[:, [0, -1]] = False
    scores = segmentation_scores(pred, target)
    assert astuple(segmentation_scores(target, pred)) == pytest.approx(astuple(scores), rel=1e-15)
    assert segmentation_scores(pred.T, target.T) == scores
    inner = segmentation_scores(np.pad(pred, 10), np.pad(target, 10))
    assert inner.dice == scores.dice and inner.hd95 == scores.hd95


@pytest.mark.parametrize("convert", [
    torch.from_numpy,
    lambda mask: torch.from_numpy(mask).to(torch.uint8),
    lambda mask: mask.astype(np.int64),
    lambda mask: np.asfortranarray(mask),
    lambda mask: np.pad(mask, 3)[3:-3, 3:-3],
])  # fmt: skip
def test_tensors_integers_and_strided_arrays_give_the_same_scores_and_stay_as_they_were(convert):
    generator = np.random.default_rng(4)
    pred, target = blobs(generator, (50, 40)), blobs(generator, (50, 40))
    given, kept = convert(pred), convert(pred.copy())
    assert segmentation_scores(given, convert(target)) == segmentation_scores(pred, target)
    assert (given == kept).all()


GOOD = np.zeros((8, 8), dtype=bool)


@pytest.mark.parametrize("score", [dice, iou, boundary_f1, hd95, segmentation_scores])
@pytest.mark.parametrize(
    ("pred", "error", "message"),
    [
        (np.zeros((8, 8)), TypeError, "dtype float64.*threshold it first"),
        (np.full((8, 8), np.nan, np.float32), TypeError, "threshold it first"),
        (torch.zeros(8, 8, dtype=torch.bfloat16), TypeError, "threshold it first"),
        (np.full((8, 8), 255, np.uint8), ValueError, "from 255 to 255.*pred > 0"),
        (np.full((8, 8), -1), ValueError, "from -1 to -1"),
        (np.zeros((1, 8, 8), bool), ValueError, r"shape \(1, 8, 8\).*squeeze"),
        (np.zeros(8, bool), ValueError, "add the missing axis"),
        (np.zeros((0, 8), bool), ValueError, "holds no pixel"),
        (np.zeros((8, 9), bool), ValueError, r"\(8, 9\) and `target` is \(8, 8\).*resize"),
        ([[True]], TypeError, "is a list.*numpy.asarray"),
    ],
)
def test_what_is_not_a_mask_is_refused_with_a_remedy(score, pred, error, message):
    with pytest.raises(error, match=message):
        score(pred, GOOD)


@pytest.mark.parametrize("radius", [0, -1, 1.5])
def test_a_radius_that_is_no_whole_number_is_refused(radius):
    with pytest.raises(ValueError, match="whole number, 1 or more"):
        boundary_f1(GOOD, GOOD, radius=radius)
