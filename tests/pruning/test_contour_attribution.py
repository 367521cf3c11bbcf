"""The displacement foretold for each head, against what a small gate really does."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medlib.boundary import displacements
from medlib.data import polyp_phantom
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import PruningMasks, head_displacements, masked, remove_heads
from medlib.store import ArtefactStore

torch.set_num_threads(1)
GATE = 1e-3
BOX = np.array([30.0, 25.0, 100.0, 85.0])


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """A tiny SAM with weights large enough that heads matter."""
    segmenter = tiny_sam(size=64, depth=3, width=48)
    with torch.no_grad():
        for block in segmenter.encoder.blocks:
            block.attn.qkv.weight.mul_(3)
            block.attn.proj.weight.mul_(3)
    return segmenter


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return polyp_phantom(seed=3, size=128).image[:100]


@pytest.fixture(scope="module")
def contour() -> tuple[np.ndarray, np.ndarray]:
    """Points between the pixels, and slopes that differ from point to point."""
    generator = np.random.default_rng(0)
    return generator.uniform([5, 5], [94, 122], (40, 2)), generator.uniform(0.01, 0.1, 40)


def mean_retreat(segmenter: Segmenter, image: np.ndarray, points: np.ndarray, slopes: np.ndarray) -> float:
    """Mean of z / |∇z| over the points."""
    logits = segmenter.logits([image], BOX[None])[0].numpy().astype(float)
    return float(np.mean(map_coordinates(logits, points.T, order=1) / slopes))


def by_removing_a_little(segmenter: Segmenter, image: np.ndarray, contour: tuple) -> np.ndarray:
    """Displacement of −Δz/|∇z| for each head weakened by GATE, divided by GATE."""
    before, found = mean_retreat(segmenter, image, *contour), []
    keep = PruningMasks.keep_all(segmenter.encoder)
    for b, heads in enumerate(keep.heads):
        for h in range(len(heads)):
            masks = PruningMasks.keep_all(segmenter.encoder)
            masks.heads[b][h] = 0
            with masked(segmenter.encoder, masks.weakened(GATE)):
                found.append(-(mean_retreat(segmenter, image, *contour) - before) / GATE)
    return np.array(found)


def test_it_is_the_derivative_of_the_contour_with_respect_to_each_gate(segmenter, image, contour):
    foretold = head_displacements(segmenter, image, BOX, *contour)
    assert [len(block) for block in foretold] == [4, 4, 4]
    foretold, found = torch.cat(foretold).numpy(), by_removing_a_little(segmenter, image, contour)
    assert np.abs(found).max() > 0.01 and found.min() < 0 < found.max(), "some heads hold the contour, some push it"
    assert np.corrcoef(foretold, found)[0, 1] > 0.99
    np.testing.assert_allclose(foretold, found, atol=0.01 * np.abs(found).max())


def test_it_is_a_mean_over_points_and_inverse_in_the_slope(segmenter, image, contour):
    points, slopes = contour
    whole = torch.cat(head_displacements(segmenter, image, BOX, points, slopes))
    halves = [torch.cat(head_displacements(segmenter, image, BOX, points[i::2], slopes[i::2])) for i in (0, 1)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-3, atol=1e-5)
    steeper = torch.cat(head_displacements(segmenter, image, BOX, points, 2 * slopes))
    torch.testing.assert_close(steeper, whole / 2, rtol=1e-3, atol=1e-5)


def test_model_and_arrays_are_left_as_they_were(segmenter, image, contour):
    digest, copies = segmenter.digest(), [array.copy() for array in (image, BOX, *contour)]
    result = head_displacements(segmenter, image, BOX, *contour)
    assert segmenter.digest() == digest and not segmenter.network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in segmenter.network.parameters())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(module, kind) for module in segmenter.network.modules() for kind in kinds)
    assert not any(block.requires_grad for block in result)
    for array, copy in zip((image, BOX, *contour), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_box_outside_the_image_is_refused(segmenter, image, contour):
    with pytest.raises(ValueError, match="outside the image of 100 × 128"):
        head_displacements(segmenter, image, np.array([30, 25, 100, 101]), *contour)


def test_removing_heads_measures_each_share_on_the_models_own_contour(segmenter, image, tmp_path):
    box, store, shares = BOX, ArtefactStore(tmp_path), (0.5, 1.0)
    level = segmenter.logits([image], box[None])[0].median()
    shifted = Segmenter("shifted", segmenter.network, segmenter.preprocessing)
    shifted.decode = lambda *inputs: segmenter.decode(*inputs) - level  # a random model draws no contour at 0
    before = shifted.logits([image], box[None])[0].numpy()
    found = remove_heads(shifted, image, box, [(0, 1), (2, 0)], shares, store)
    assert found.pixels.shape == found.lost.shape == (2, 2)
    masks = PruningMasks.keep_all(segmenter.encoder)
    masks.heads[2][0] = 0
    with masked(segmenter.encoder, masks.weakened(0.5)):
        after = shifted.logits([image], box[None])[0].numpy()
    measured = displacements(before, after)[1]
    assert found.pixels[1, 0] == pytest.approx(np.nanmean(measured.pixels) / 0.5)
    assert found.lost[1, 0] == measured.lost.mean()
