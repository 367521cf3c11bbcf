"""From a photograph to the encoder's input and back: sizes, ranges, boxes and alignment."""

import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from medlib.models import Preprocessing
from medlib.models.preprocessing import SAM_MEAN, SAM_STD

SHAPES = [(128, 128), (96, 160), (160, 96), (60, 50), (31, 200), (300, 170)]
KEEP, SQUEEZE = Preprocessing(128), Preprocessing(128, keep_aspect=False)


def noise(height: int, width: int, low: int = 0, high: int = 255) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, (height, width, 3), endpoint=True, dtype=np.uint8)


@pytest.mark.parametrize("shape", [*SHAPES, (257, 512), (512, 259), (1, 4000)])
@pytest.mark.parametrize("size", [128, 256, 1024])
def test_keeping_the_aspect_gives_the_size_that_sam_computes(shape: tuple[int, int], size: int):
    rows, columns = ResizeLongestSide.get_preprocess_shape(*shape, size)
    assert Preprocessing(size).scaled_size(*shape) == (max(rows, 1), max(columns, 1))
    assert Preprocessing(size, keep_aspect=False).scaled_size(*shape) == (size, size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaling", ["min_max", "imagenet"])
def test_padding_is_zero_and_at_the_bottom_and_right(shape: tuple[int, int], scaling: str):
    prepared = Preprocessing(128, scaling).image(noise(*shape, low=30, high=60))
    rows, columns = KEEP.scaled_size(*shape)
    assert prepared.shape == (3, 128, 128) and prepared.dtype == torch.float32
    assert not prepared[:, rows:].any() and not prepared[:, :, columns:].any()
    assert (prepared[:, :rows, :columns] != 0).float().mean() > 0.9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_min_max_fills_the_unit_range(shape: tuple[int, int], keep_aspect: bool):
    preprocessing = Preprocessing(128, keep_aspect=keep_aspect)
    rows, columns = preprocessing.scaled_size(*shape)
    inside = preprocessing.image(noise(*shape, low=30, high=60))[:, :rows, :columns]
    assert inside.min() == 0 and inside.max() == 1


def test_min_max_has_one_range_for_all_channels():
    image = np.zeros((128, 128, 3), np.uint8)
    image[..., 0], image[64:, :, 1] = 50, 200
    np.testing.assert_allclose(KEEP.image(image)[:, 100, 100], [0.25, 1.0, 0.0])


def test_imagenet_scaling_is_sams():
    image = noise(128, 128)
    expected = (image - np.array(SAM_MEAN)) / np.array(SAM_STD)
    prepared = Preprocessing(128, "imagenet").image(image)
    np.testing.assert_allclose(prepared.permute(1, 2, 0), expected, atol=1e-5)


def test_an_image_of_one_colour_is_finite():
    assert torch.isfinite(KEEP.image(np.full((40, 50, 3), 7, np.uint8))).all()


def test_a_grey_image_is_an_image_of_equal_channels():
    grey = noise(50, 70)[..., 0]
    assert torch.equal(KEEP.image(grey), KEEP.image(np.stack([grey] * 3, axis=2)))


def test_the_callers_arrays_are_left_alone():
    image, mask = noise(50, 70), noise(50, 70)[..., 0] > 100
    copies = image.copy(), mask.copy()
    KEEP.image(image).zero_()
    KEEP.mask(mask).zero_()
    exact = noise(128, 128)
    unchanged = exact.copy()
    KEEP.image(exact).zero_()
    for array, copy in zip((image, mask, exact), (*copies, unchanged), strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((8, 8, 3), np.float32), TypeError),
        (np.full((8, 8, 3), np.nan, np.float32), ValueError),
        (np.zeros((8, 8, 4), np.uint8), ValueError),
        (np.zeros((3, 8, 8), np.uint8), ValueError),
        (np.zeros((0, 8, 3), np.uint8), ValueError),
        ([[0, 1], [2, 3]], TypeError),
    ],
)
def test_what_is_not_an_image_is_refused(image: object, error: type[Exception]):
    with pytest.raises(error, match="image "):
        KEEP.image(image)


def test_boxes_scale_with_their_image():
    box = np.array([10.0, 20.0, 50.0, 60.0])
    np.testing.assert_allclose(KEEP.box(box, 64, 64), 2 * box)
    np.testing.assert_allclose(KEEP.box(box, 128, 64), box)
    np.testing.assert_allclose(KEEP.box(box, 64, 256), 0.5 * box)
    np.testing.assert_allclose(SQUEEZE.box(box, 64, 256), [5, 40, 25, 120])
    np.testing.assert_allclose(SQUEEZE.box(box, 256, 64), [20, 10, 100, 30])
    assert KEEP.box(box, 64, 64).dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("preprocessing", [KEEP, SQUEEZE], ids=["keep", "squeeze"])
def test_the_box_of_the_whole_image_covers_what_is_not_padding(shape: tuple[int, int], preprocessing: Preprocessing):
    rows, columns = preprocessing.scaled_size(*shape)
    height, width = shape
    assert preprocessing.box(np.array([0, 0, width, height]), *shape).tolist() == [0, 0, columns, rows]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([10, 10, 65, 20], "outside the image of 64 × 64"),
        ([-1, 10, 30, 20], "outside the image"),
        ([30, 10, 20, 20], "spans no area"),
        ([np.nan, 10, 20, 20], "finite"),
        ([10, 10, 20], "expected"),
    ],
)
def test_bad_boxes_are_refused(box: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        KEEP.box(np.array(box), 64, 64)


# A field that is linear in image coordinates is reproduced exactly by bilinear interpolation, so any shift or stretch
# between image, box and logits shows.


def image_coordinates(preprocessing: Preprocessing, shape: tuple[int, int], grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, in pixels of an image of this shape, of the cells of a grid over the whole input."""
    centres = (np.arange(grid) + 0.5) * preprocessing.size / grid
    y, x = (centres * original / scaled - 0.5 for original, scaled in zip(shape, preprocessing.scaled_size(*shape)))
    return y[:, None], x[None, :]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("preprocessing", [KEEP, SQUEEZE], ids=["keep", "squeeze"])
def test_restored_logits_lie_where_they_were(shape: tuple[int, int], preprocessing: Preprocessing):
    y, x = image_coordinates(preprocessing, shape, grid=32)
    planes = torch.from_numpy(np.stack([0.3 * y - 0.2 * x + 1, 0 * y + x]))
    restored = preprocessing.restore(planes, *shape)
    assert restored.shape == (2, *shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = (slice(None), *(slice(margin, -margin) for margin in (3 * side // 16 for side in shape)))
    expected = np.stack([0.3 * rows - 0.2 * columns + 1, columns])
    np.testing.assert_allclose(restored[inside], expected[inside], atol=1e-6)


@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (128, 128), (300, 170)])
@pytest.mark.parametrize("preprocessing", [KEEP, SQUEEZE], ids=["keep", "squeeze"])
def test_a_disc_of_logits_comes_back_in_place(shape: tuple[int, int], preprocessing: Preprocessing):
    y, x = image_coordinates(preprocessing, shape, grid=32)
    centre, radius = (0.6 * shape[0], 0.4 * shape[1]), 0.3 * min(shape)
    field = torch.from_numpy(radius - np.hypot(y - centre[0], x - centre[1]))
    found = preprocessing.restore(field[None], *shape)[0].numpy() > 0
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    truth = np.hypot(rows - centre[0], columns - centre[1]) < radius
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.98
    assert np.mean(np.nonzero(found), axis=1) == pytest.approx(np.mean(np.nonzero(truth), axis=1), abs=0.3)


@pytest.mark.parametrize("shape", [(96, 120), (120, 96), (127, 127), (64, 32)])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_image_and_mask_are_scaled_without_a_shift(shape: tuple[int, int], keep_aspect: bool):
    preprocessing = Preprocessing(256, "imagenet", keep_aspect)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    prepared = preprocessing.image(np.stack([2 * columns, 2 * rows, 0 * rows], axis=2).astype(np.uint8)).double()
    x, y = ((prepared[i] * SAM_STD[i] + SAM_MEAN[i]).numpy() / 2 for i in (0, 1))
    expected_y, expected_x = image_coordinates(preprocessing, shape, grid=256)
    height, width = preprocessing.scaled_size(*shape)
    inside = slice(20, height - 20), slice(20, width - 20)
    np.testing.assert_allclose(x[inside], (expected_x + 0 * expected_y)[inside], atol=1e-3)
    np.testing.assert_allclose(y[inside], (expected_y + 0 * expected_x)[inside], atol=1e-3)
    half = columns >= shape[1] // 2
    edge = preprocessing.mask(half)[:height, :width].numpy()
    assert edge.sum() == pytest.approx(half.mean() * height * width, rel=0.01)
    assert not edge[:, : width // 2 - 12].any() and (edge[:, width // 2 + 12 :] == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_of_the_whole_image_is_one_up_to_the_padding(shape: tuple[int, int]):
    rows, columns = KEEP.scaled_size(*shape)
    prepared = KEEP.mask(np.ones(shape, bool))
    assert prepared.shape == (128, 128)
    np.testing.assert_allclose(prepared[:rows, :columns], 1, atol=1e-6)
    assert not prepared[rows:].any() and not prepared[:, columns:].any()
