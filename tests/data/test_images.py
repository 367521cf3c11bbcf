"""Range and type checks of images."""

import numpy as np
import pytest

from medlib.data import validate_image


def test_colour_passes_unchanged():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert validate_image(image) is image


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_is_repeated_over_three_channels(shape):
    image = np.arange(24, dtype=np.uint8).reshape(shape)
    colour = validate_image(image)
    assert colour.shape == (4, 6, 3)
    np.testing.assert_array_equal(colour[..., 2], image.reshape(4, 6))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[1, 2]], TypeError, "scan is a list; pass a numpy array"),
        (np.full((4, 4, 3), 0.5), TypeError, r"float64 values from 0.5 to 0.5; .* np.round\(255 \* image\)"),
        (np.full((4, 4, 3), 128.0), TypeError, r"Convert with np.round\(image\)"),
        (np.full((4, 4, 3), np.nan), ValueError, "NaN or infinite"),
        (np.full((4, 4, 3), np.inf, np.float32), ValueError, "NaN or infinite"),
        (np.full((4, 4, 3), -1.5), TypeError, "Undo the normalisation"),
        (np.full((4, 4), 4095, np.uint16), TypeError, "uint16 values from 4095 to 4095; .* intensity window"),
        (np.full((4, 4), 9, np.int64), TypeError, r"int64 values .* np.round\(image\)"),
        (np.zeros((4, 4, 3), bool), TypeError, "bool values; images are uint8"),
        (np.zeros((3, 4, 5), np.uint8), ValueError, r"shape \(3, 4, 5\).*transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 4), np.uint8), ValueError, "Drop the opacity channel"),
        (np.zeros((2, 4, 5, 3), np.uint8), ValueError, "one by one"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, "no pixel"),
    ],
)
def test_refuses_wrong_ranges_and_shapes(image, error, message):
    with pytest.raises(error, match=message):
        validate_image(image, name="scan")
