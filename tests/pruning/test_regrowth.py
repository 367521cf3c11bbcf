"""Masks written into the weights: the same output at first, and regrowth when training goes on without them."""

import numpy as np
import pytest
import torch

from medlib.data import polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning.masks import PruningMasks, masked, random_masks
from medlib.pruning.recovery import recover
from medlib.pruning.regrowth import baked, regrown_share

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2, neck=16)


@pytest.fixture(scope="module")
def masks(model: Segmenter) -> PruningMasks:
    return random_masks(model.encoder, 0.5, 0.5, np.random.default_rng(0))


def test_baked_is_masked(model: Segmenter, masks: PruningMasks):
    digest, images = model.digest(), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for gates in (masks, masks.weakened(0.4)):
        with torch.no_grad():
            with masked(model.encoder, gates):
                expected = model.encoder(images)
            torch.testing.assert_close(baked(model.encoder, gates)(images), expected, atol=1e-5, rtol=1e-5)
    assert model.digest() == digest


@pytest.mark.parametrize("masks_stay", [True, False])
def test_what_is_baked_grows_back_unless_the_masks_stay(model: Segmenter, masks: PruningMasks, masks_stay: bool):
    start = tiny_sam(size=64, width=32, depth=2, neck=16)
    start.network.image_encoder = baked(model.encoder, masks)
    assert regrown_share(start.encoder, masks) == 0
    gates = masks if masks_stay else PruningMasks.keep_all(model.encoder)
    samples, generator = polyp_phantoms(2, size=64, seed=5), np.random.default_rng(0)
    after = recover(start, model, samples, gates, steps=2, generator=generator)
    share = regrown_share(after.encoder, masks)
    assert share == 0 if masks_stay else share > 0.95


def test_masks_that_say_nothing(model: Segmenter):
    with pytest.raises(ValueError, match="remove no group, so nothing can grow back"):
        regrown_share(model.encoder, PruningMasks.keep_all(model.encoder))
    with pytest.raises(ValueError, match="head masks for 2 blocks"):
        baked(model.encoder, PruningMasks((), ()))
