"""The pull at a logit is the derivative of the published loss."""

import numpy as np
import pytest
import torch

from medlib.data import boxes_from_masks, polyp_phantoms
from medlib.models import tiny_sam
from medlib.pruning.fisher import boundary_loss, low_resolution_mask
from medlib.pruning.pixel_pull import PixelPull, pixel_pull

torch.set_num_threads(1)


def test_it_is_the_slope_of_the_loss_at_a_pixel():
    model, samples = tiny_sam(size=64, width=32, depth=1), polyp_phantoms(2, size=64)
    found = pixel_pull(model, samples)
    with torch.no_grad():
        logits = model.decode(model.embed(samples.images), model.boxes(samples.images, boxes_from_masks(samples.masks)))
    mask = low_resolution_mask(model.preprocessing, samples.masks[1], logits.shape[1:])
    for row, column in ((0, 0), (16, 16), (10, 20)):
        step = torch.zeros_like(logits[1], dtype=torch.float64)
        step[row, column] = 1e-4
        ends = [float(boundary_loss(logits[1].double() + sign * step, mask)) for sign in (1, -1)]
        assert found.pulls[1, row, column] == pytest.approx(abs(ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-6)


def test_the_boundary_weight_moves_the_pull_into_the_band():
    model, samples = tiny_sam(size=64, width=32, depth=1), polyp_phantoms(2, size=64)
    plain, weighted = (pixel_pull(model, samples, weight) for weight in (0.0, 3.0))
    assert (weighted.share_in_band > plain.share_in_band).all()
    np.testing.assert_allclose(weighted.pulls[~plain.bands], plain.pulls[~plain.bands], rtol=1e-5)


def test_the_share_counts_squares():
    band = np.array([[[True, False]]])
    assert PixelPull(band, np.array([[[3.0, 1.0]]])).share_in_band == pytest.approx([0.9])
