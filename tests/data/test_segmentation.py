"""Records of images with masks."""

import numpy as np
import pytest

from medlib.data import SegmentationSample, SegmentationSet


def sample(name: str, height: int = 4, width: int = 6) -> SegmentationSample:
    return SegmentationSample(name, np.full((height, width, 3), ord(name), np.uint8), np.zeros((height, width), bool))


def test_one_size_is_stacked():
    data = SegmentationSet.from_samples([sample("a"), sample("b")], source="here")
    assert data.images.shape == (2, 4, 6, 3) and data.masks.shape == (2, 4, 6)
    assert repr(data) == "SegmentationSet(2 from here, 4 × 6)"


def test_different_sizes_stay_apart():
    data = SegmentationSet.from_samples([sample("a"), sample("b", 8, 8)], source="here")
    assert isinstance(data.images, tuple) and [mask.shape for mask in data.masks] == [(4, 6), (8, 8)]
    assert repr(data) == "SegmentationSet(2 from here, 2 sizes)"


@pytest.mark.parametrize("height", [4, 8])
def test_length_indexing_and_iteration(height):
    data = SegmentationSet.from_samples([sample("a"), sample("b", height), sample("c")], source="here")
    assert len(data) == 3
    assert [item.name for item in data] == ["a", "b", "c"]
    assert data[-1].name == "c" and data[1].image[0, 0, 0] == ord("b")


def test_index_beyond_the_end():
    with pytest.raises(IndexError):
        SegmentationSet.from_samples([sample("a")], source="here")[1]


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="here holds no sample"):
        SegmentationSet.from_samples([], source="here")


def test_mask_of_another_size_is_refused():
    odd = SegmentationSample("odd", np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4), bool))
    with pytest.raises(ValueError, match="odd: the image is 4 × 6 and its mask 6 × 4"):
        SegmentationSet.from_samples([odd], source="here")
