"""Ultrasound, dermoscopy and shape phantoms: reproducible, one lesion each, not given away by the box."""

import numpy as np
import pytest
from scipy.ndimage import label

from medlib.data import boxes_from_masks, dermoscopy_phantoms, ellipse_in_box, shape_scenes, ultrasound_phantoms

FRESH_SEED = 30_000  # of these tests alone
SERIES = [ultrasound_phantoms, dermoscopy_phantoms, shape_scenes]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module", params=SERIES, ids=lambda series: series.__name__)
def series(request):
    return request.param


def test_sample_depends_on_seed_and_index_alone(series):
    samples, few, other = series(6, 64, FRESH_SEED), series(2, 64, FRESH_SEED), series(2, 64, FRESH_SEED + 1)
    assert samples.images.dtype == np.uint8 and samples.images.shape == (6, 64, 64, 3)
    assert samples.masks.dtype == bool and samples.masks.shape == (6, 64, 64) and len(set(samples.names)) == 6
    np.testing.assert_array_equal(few.images, samples.images[:2])
    np.testing.assert_array_equal(few.masks, samples.masks[:2])
    assert not (other.images == few.images).all()
    assert max(dice(samples.masks[i], samples.masks[j]) for i in range(6) for j in range(i)) < 0.95


def test_every_size_shows_the_same_scene(series):
    large, small = series(3, 256, FRESH_SEED), series(3, 64, FRESH_SEED)
    for a, b in zip(large, small, strict=True):
        assert dice(a.mask[2::4, 2::4], b.mask) > 0.94
        assert np.abs(a.image.mean((0, 1)) - b.image.mean((0, 1))).max() < 8


def test_lesions_are_whole_and_the_box_does_not_give_them_away(series):
    samples = series(24, 96, FRESH_SEED)
    boxes = boxes_from_masks(samples.masks)
    scores = [dice(ellipse_in_box(box, 96, 96), mask) for box, mask in zip(boxes, samples.masks, strict=True)]
    assert 0.70 < np.mean(scores) < 0.89
    areas = samples.masks.mean((1, 2))
    assert 0.01 < areas.min() and areas.max() < 0.30 and 0.05 < areas.mean() < 0.15
    assert np.mean([label(mask)[1] == 1 for mask in samples.masks]) > 0.9


def test_nodules_and_moles_are_darker_than_what_surrounds_them():
    for series in (ultrasound_phantoms, dermoscopy_phantoms):
        samples = series(24, 96, FRESH_SEED)
        inside = np.array([image[mask].mean() for image, mask in zip(samples.images, samples.masks, strict=True)])
        outside = np.array([image[~mask].mean() for image, mask in zip(samples.images, samples.masks, strict=True)])
        assert (inside < outside).mean() > 0.9, series.__name__
        assert 5 < (outside - inside).mean() < 90, f"{series.__name__}: visible, and not trivial"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0; ask for at least 1 phantom"),
        ({"count": 1, "size": 63}, "size is 63; .* phantoms are drawn from 64 to 1024 pixels"),
        ({"count": 1, "seed": -1}, "seed is -1; use 0 or a positive integer"),
    ],
)
def test_refuses_what_it_cannot_draw(series, arguments, message):
    with pytest.raises(ValueError, match=message):
        series(**arguments)
