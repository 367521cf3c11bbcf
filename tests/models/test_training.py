"""Training on phantoms: it learns, it repeats itself, and it changes nothing it was given."""

import numpy as np
import pytest
import torch

from medlib.data import SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, dice_loss, tiny_sam, train_segmenter

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(8, size=64, seed=2)


@pytest.fixture(scope="module")
def untrained() -> Segmenter:
    return tiny_sam(size=64, width=64, depth=1)


def train(segmenter: Segmenter, samples: SegmentationSet, steps: int, seed: int = 0, **options) -> Segmenter:
    return train_segmenter(segmenter, samples, steps, np.random.default_rng(seed), **options)


def mean_dice(segmenter: Segmenter, samples: SegmentationSet) -> float:
    found = segmenter.logits(samples.images, boxes_from_masks(samples.masks))
    masks = [logits.numpy() > 0 for logits in found]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(masks, samples.masks, strict=True)]))


def test_training_teaches_and_leaves_its_input_alone(untrained: Segmenter, samples: SegmentationSet):
    digest, images, masks = untrained.digest(), samples.images.copy(), samples.masks.copy()
    trained = train(untrained, samples, steps=100, learning_rate=3e-3)
    assert mean_dice(trained, samples) > max(0.6, mean_dice(untrained, samples) + 0.2)
    assert untrained.digest() == digest and trained.digest() != digest
    assert all(parameter.grad is None for parameter in untrained.network.parameters())
    assert not untrained.network.training and not trained.network.training
    assert not any(module.training for module in trained.network.modules())
    np.testing.assert_array_equal(samples.images, images)
    np.testing.assert_array_equal(samples.masks, masks)


def test_training_repeats_itself_whatever_the_global_random_state(untrained: Segmenter, samples: SegmentationSet):
    digests = []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        digests.append(train(untrained, samples, steps=3).digest())
        assert torch.equal(torch.get_rng_state(), before)
    assert digests[0] == digests[1]
    assert train(untrained, samples, steps=3, seed=1).digest() != digests[0]


def test_images_of_different_sizes_train_together(untrained: Segmenter, samples: SegmentationSet):
    cropped = SegmentationSet(
        tuple(image[: 64 - 4 * i] for i, image in enumerate(samples.images[:3])),
        tuple(mask[: 64 - 4 * i] for i, mask in enumerate(samples.masks[:3])),
        samples.names[:3],
        samples.source,
    )
    assert train(untrained, cropped, steps=2, batch=8).digest() != untrained.digest()


def test_a_loss_that_explodes_is_an_error(untrained: Segmenter, samples: SegmentationSet):
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+. Lower the learning rate"):
        train(untrained, samples, steps=8, learning_rate=1e30)


def test_an_empty_mask_is_named(untrained: Segmenter, samples: SegmentationSet):
    empty = SegmentationSet(samples.images[:1], np.zeros_like(samples.masks[:1]), samples.names[:1], "a test")
    with pytest.raises(ValueError, match="is empty; a box prompt needs a lesion"):
        train(untrained, empty, steps=1)


def test_dice_loss_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.rand(3, 5, 6, generator=generator, dtype=torch.float64)
    p, y = (t.numpy().reshape(3, -1) for t in (torch.sigmoid(logits), target))
    expected = np.mean(1 - 2 * (p * y).sum(1) / (p.sum(1) + y.sum(1)))
    assert float(dice_loss(logits, target)) == pytest.approx(expected, abs=1e-6)


def test_dice_loss_at_its_ends():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    sure = 200 * (target - 0.5)
    assert float(dice_loss(sure, target)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(-sure, target)) == pytest.approx(1, abs=1e-5)
    assert float(dice_loss(torch.full_like(target, -200), torch.zeros_like(target))) == pytest.approx(0, abs=1e-6)


def test_dice_loss_has_the_gradient_of_its_formula():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: dice_loss(z, target), (logits,))
