"""Fine-tuning: encoder and decoder move under the masks, the best weights win, nothing handed in changes."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSet, polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import fine_tuning
from medlib.pruning.fine_tuning import fine_tune
from medlib.pruning.masks import PruningMasks, masked, random_masks

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=1, neck=16)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(6, size=64, seed=42)


@pytest.fixture(scope="module")
def masks(model: Segmenter) -> PruningMasks:
    return random_masks(model.encoder, 0.25, 0.5, np.random.default_rng(0))


def tuned(model: Segmenter, samples: SegmentationSet, masks: PruningMasks, epochs: int = 2, **options) -> Segmenter:
    return fine_tune(model, samples, masks, epochs, generator=np.random.default_rng(1), **options)


def loss(model: Segmenter, samples: SegmentationSet, masks: PruningMasks) -> float:
    boxes = model.boxes(samples.images, fine_tuning.boxes_from_masks(samples.masks))
    with torch.no_grad(), masked(model.encoder, masks):
        return float(fine_tuning._loss(model, samples, boxes, np.arange(len(samples))))


def test_it_learns_with_encoder_and_decoder(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    digest = model.digest()
    after = tuned(model, samples, masks, epochs=4, learning_rate=1e-3)
    assert loss(after, samples, masks) < loss(model, samples, masks)
    assert model.digest() == digest
    before, moved = model.network.state_dict(), after.network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], moved[name])}
    assert changed == {"image_encoder", "mask_decoder"}
    assert all(p.requires_grad and p.grad is None for p in after.network.parameters())
    assert not any(m.training or m._forward_pre_hooks for m in after.network.modules())


def test_removed_groups_cannot_matter(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    """Weight decay shrinks them, and nothing pulls them back."""
    after = tuned(model, samples, masks, learning_rate=1e-3)
    gone = masks.channels[0] == 0
    before, shrunk = (m.encoder.blocks[0].mlp.lin2.weight[:, gone].detach() for m in (model, after))
    ratio = (shrunk / before)[before.abs() > 1e-4]
    assert float(ratio.max()) < 1 and float(ratio.std()) < 1e-4


def test_it_repeats_itself(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    assert tuned(model, samples, masks).digest() == tuned(model, samples, masks).digest()
    assert tuned(model, samples, masks, epochs=0).digest() == model.digest()


def test_it_stops_when_the_held_back_loss_no_longer_improves(
    model: Segmenter, samples: SegmentationSet, masks: PruningMasks, monkeypatch: pytest.MonkeyPatch
):
    """The held-back loss is faked: it improves once and never again."""
    steps, weights = [], []

    def descend(loss, optimiser, *_, **__):
        steps.append(1)
        optimiser.step()
        with torch.no_grad():
            tuned_parameters[0].add_(1.0)

    def faked(tuned, samples, boxes, indices):
        tuned_parameters[:] = [tuned.encoder.neck[0].weight]
        if torch.is_grad_enabled():
            return torch.zeros(())
        weights.append(tuned.encoder.neck[0].weight.detach().clone())
        return torch.tensor(1.0 if len(weights) == 2 else 2.0)

    tuned_parameters = [None]
    monkeypatch.setattr(fine_tuning, "descend", descend)
    monkeypatch.setattr(fine_tuning, "_loss", faked)
    after = tuned(model, samples, masks, epochs=50, batch=8)
    assert len(steps) == 2 + fine_tuning.PATIENCE
    assert torch.equal(after.encoder.neck[0].weight, weights[1]), "the best epoch's weights come back"


def test_one_sample_is_too_few(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    single = SegmentationSet(samples.images[:1], samples.masks[:1], samples.names[:1], "a test")
    with pytest.raises(ValueError, match="one sample is too few: a part is held back"):
        tuned(model, single, masks)
