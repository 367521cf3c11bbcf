"""Box prompts from masks, their checks, and the ellipse baseline."""

import numpy as np
import pytest

from medlib.data import boxes_from_masks, ellipse_in_box, validate_boxes


def rectangle(top: int, left: int, bottom: int, right: int, size: int = 16) -> np.ndarray:
    """A mask whose last row and column are `bottom` and `right`."""
    mask = np.zeros((size, size), bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def test_ends_are_the_lesions_own_pixels():
    boxes = boxes_from_masks(np.stack([rectangle(2, 3, 5, 9), rectangle(0, 0, 15, 15)]))
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, [[3, 2, 9, 5], [0, 0, 15, 15]])


def test_components_share_one_box():
    np.testing.assert_array_equal(
        boxes_from_masks([rectangle(1, 1, 2, 2) | rectangle(9, 12, 10, 13)]), [[1, 1, 13, 10]]
    )


def test_masks_of_different_sizes():
    boxes = boxes_from_masks([rectangle(2, 3, 5, 9), rectangle(4, 4, 8, 30, size=32)])
    np.testing.assert_array_equal(boxes[1], [4, 4, 30, 8])


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (rectangle(4, 7, 8, 7), [7, 4, 8, 8]),
        (rectangle(15, 15, 15, 15), [14, 14, 15, 15]),
    ],
)
def test_thin_lesions_get_a_box_with_area(mask, box):
    np.testing.assert_array_equal(boxes_from_masks([mask])[0], box)


def test_jitter_moves_sides_by_whole_pixels_within_the_image():
    masks = np.stack([rectangle(1, 1, 12, 14)] * 400)
    exact, moved = (
        boxes_from_masks(masks),
        boxes_from_masks(masks, jitter=3, generator=np.random.default_rng(0)),
    )
    shift = moved - exact
    assert set(np.unique(shift[:, 0])) == {-1, 0, 1, 2, 3}, "the left side stops at the image's edge"
    assert set(np.unique(shift[:, 3])) == {-3, -2, -1, 0, 1, 2, 3}
    assert moved.min() >= 0 and moved.max() <= 15


def test_jitter_never_degenerates_a_small_box():
    masks = np.stack([rectangle(7, 7, 8, 8)] * 200)
    boxes = boxes_from_masks(masks, jitter=6, generator=np.random.default_rng(1))
    validate_boxes(boxes, 16, 16)


def test_jitter_repeats_with_its_generator():
    masks = np.stack([rectangle(4, 4, 9, 9)] * 5)
    first, again = (boxes_from_masks(masks, 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_masks_are_left_alone():
    mask = rectangle(2, 2, 6, 6)
    copy = mask.copy()
    boxes_from_masks([mask], jitter=2, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(mask, copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"masks": [rectangle(1, 1, 2, 2), np.zeros((16, 16), bool)], "names": ["a", "polyp-7"]},
            "mask polyp-7 is empty; a box prompt needs a lesion",
        ),
        ({"masks": np.zeros((1, 16, 16), bool)}, "mask 0 is empty"),
        ({"masks": []}, "masks is empty"),
        ({"masks": rectangle(1, 1, 2, 2)}, r"mask 0 has shape \(16,\)"),
        ({"masks": [rectangle(1, 1, 2, 2)], "jitter": 2}, "no generator was given"),
        ({"masks": [rectangle(1, 1, 2, 2)], "jitter": -1}, "jitter is -1"),
    ],
)
def test_refuses_masks_without_a_box(arguments, message):
    with pytest.raises(ValueError, match=message):
        boxes_from_masks(**arguments)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 30, 8]], "outside the image of 20 × 24 pixels"),
        ([[-1, 2, 9, 8]], "outside the image"),
        ([[1, 2, 9, 21]], "outside the image"),
        ([[9, 2, 1, 8]], "spans no area"),
        ([[1, 2, 1, 8]], "spans no area"),
        ([[1, 2, 9, 8], [1, np.nan, 9, 8]], "box 1 is .*finite"),
        ([1, 2, 9, 8], r"shape \(4,\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        ([[1, 2, 9]], r"shape \(1, 3\)"),
    ],
)
def test_refuses_bad_boxes(boxes, message):
    with pytest.raises(ValueError, match=message):
        validate_boxes(boxes, height=20, width=24)


def test_accepts_a_box_along_the_outer_edge():
    assert validate_boxes([[0, 0, 24, 20]], height=20, width=24).dtype == np.float32


def test_ellipse_fills_its_box_and_has_the_area_of_an_ellipse():
    box = [10, 20, 149, 79]
    ellipse = ellipse_in_box(box, height=120, width=200)
    np.testing.assert_array_equal(boxes_from_masks([ellipse])[0], box)
    assert ellipse.sum() == pytest.approx(np.pi / 4 * 140 * 60, rel=0.01)
    np.testing.assert_array_equal(ellipse[20:80, 10:150], ellipse[20:80, 10:150][::-1, ::-1])


def test_ellipse_checks_its_box():
    with pytest.raises(ValueError, match="outside the image"):
        ellipse_in_box([0, 0, 40, 10], height=20, width=20)
