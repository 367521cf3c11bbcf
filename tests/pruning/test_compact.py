"""A compact encoder says what the masked one says, and is an encoder like any other."""

import copy

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from medlib.data import polyp_phantom
from medlib.models import Segmenter, lite_medsam, tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, masked, random_masks, removed_parameters
from medlib.pruning.compact import compact

torch.set_num_threads(1)


def sam_encoder() -> nn.Module:
    """SAM's ViT, small: relative positions, one global block, and windows of 3 on a grid of 8, so padding runs."""
    return ImageEncoderViT(
        img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=4, out_chans=16, window_size=3,
        use_rel_pos=True, rel_pos_zero_init=False, global_attn_indexes=(1,),
    )  # fmt: skip


def tiny_vit() -> nn.Module:
    """LiteMedSAM's kind of encoder, small: windows that need padding, and one as large as its layer's grid of 16."""
    return type(lite_medsam().encoder)(
        img_size=64, embed_dims=[8, 32, 48, 320], depths=[1, 2, 2, 1], num_heads=[1, 2, 3, 5],
        window_sizes=[7, 7, 16, 7], drop_path_rate=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[sam_encoder, tiny_vit])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    """An encoder whose every parameter, attention biases and relative positions included, is random."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = request.param()
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def masks(encoder: nn.Module) -> PruningMasks:
    return random_masks(encoder, heads=0.5, channels=0.7, generator=np.random.default_rng(0))


def features(encoder: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The output of the last block; TinyViT's neck only takes images of 256²."""
    if isinstance(encoder, ImageEncoderViT):
        return encoder(image)
    return nn.Sequential(encoder.patch_embed, *encoder.layers)(image)


def gated(encoder: nn.Module, masks: PruningMasks, image: torch.Tensor) -> torch.Tensor:
    with masked(encoder, masks):
        return features(encoder, image)


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_the_output_is_that_of_the_masked_encoder(encoder, masks, image, training):
    dense = copy.deepcopy(encoder).double().train(training)
    smaller = compact(dense, masks)
    assert smaller.training == training
    expected = gated(dense, masks, image.double())
    np.testing.assert_allclose(features(smaller, image.double()), expected, atol=1e-12 * float(expected.abs().max()))
    assert (features(dense, image.double()) - expected).abs().max() > 0.01 * expected.std()


@torch.no_grad()
def test_in_single_precision_too_and_after_a_change_of_mode(encoder, masks, image):
    expected, smaller = gated(encoder, masks, image), compact(encoder, masks)
    for network in (smaller, smaller.train().eval(), copy.deepcopy(smaller)):
        np.testing.assert_allclose(features(network, image), expected, atol=2e-5 * float(expected.abs().max()))


def test_what_is_left_is_what_the_blocks_say(encoder, masks):
    smaller = compact(encoder, masks)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (encoder, smaller)]
    assert counts[0] - counts[1] == removed_parameters(encoder, masks) > 0
    for dense, block, heads, channels in zip(
        encoder_blocks(encoder), encoder_blocks(smaller), masks.heads, masks.channels
    ):
        assert (block.name, block.heads, block.channels) == (dense.name, heads.sum(), channels.sum())
        assert (block.head_dim, block.head_parameters) == (dense.head_dim, dense.head_parameters)
    for module in smaller.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)


def test_the_encoder_handed_in_is_left_alone(encoder, masks, image):
    dense = copy.deepcopy(encoder)
    frozen = dict(dense.named_parameters())[encoder_blocks(dense)[0].contraction + ".weight"].requires_grad_(False)
    state, blocks = copy.deepcopy(dense.state_dict()), str(encoder_blocks(dense))
    smaller = compact(dense, masks)
    assert not dict(smaller.named_parameters())[encoder_blocks(dense)[0].contraction + ".weight"].requires_grad
    assert sum(not parameter.requires_grad for parameter in smaller.parameters()) == 1
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert not frozen.requires_grad and str(encoder_blocks(dense)) == blocks
    assert all(torch.equal(value, state[name]) for name, value in dense.state_dict().items())


def combined(first: PruningMasks, second: PruningMasks) -> PruningMasks:
    """The masks that remove at once what `first` removes and what `second` removes of the rest."""

    def both(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        result = one.clone()
        result[one == 1] = other
        return result

    return PruningMasks(tuple(map(both, first.heads, second.heads)), tuple(map(both, first.channels, second.channels)))


@torch.no_grad()
def test_a_compact_encoder_can_be_masked_and_compacted_again(encoder, image):
    generator = np.random.default_rng(1)
    first = random_masks(encoder, 0.2, 0.3, generator)
    smaller = compact(encoder, first)
    second = random_masks(smaller, 0.3, 0.5, generator)
    at_once, again = compact(encoder, combined(first, second)), compact(smaller, second)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in at_once.state_dict().items())
    expected = features(again, image)
    assert torch.equal(features(at_once, image), expected)
    np.testing.assert_allclose(gated(smaller, second, image), expected, atol=2e-5 * float(expected.abs().max()))


def test_it_learns_what_the_masked_encoder_learns(encoder, masks, image):
    """Gradients of what is left equal those that the masked dense encoder gives the same rows and columns."""
    dense = copy.deepcopy(encoder).double().train()
    smaller = compact(dense, masks)
    gated(dense, masks, image.double()).square().mean().backward()
    features(smaller, image.double()).square().mean().backward()
    names = {name for block in encoder_blocks(dense) for name in (block.projection, block.contraction)}
    for name in names:
        kept = dense.get_submodule(name).weight.grad
        kept = kept[:, kept.abs().sum(dim=0) > 0]
        found = smaller.get_submodule(name).weight.grad
        np.testing.assert_allclose(found, kept, atol=1e-10 * float(kept.abs().max()))


@torch.no_grad()
def test_weights_go_from_one_compact_encoder_to_another(encoder, masks, image):
    other = copy.deepcopy(encoder)
    for parameter in other.parameters():
        parameter.zero_()
    copied, smaller = compact(other, masks), compact(encoder, masks)
    copied.load_state_dict(smaller.state_dict())
    assert torch.equal(features(copied.train().eval(), image), features(smaller, image))


def test_it_takes_its_place_in_a_segmenter():
    segmenter, image, box = tiny_sam(size=64), polyp_phantom(seed=3, size=64).image, np.array([[10, 12, 50, 48]])
    masks = random_masks(segmenter.encoder, 0.5, 0.7, np.random.default_rng(0))
    with masked(segmenter.encoder, masks):
        expected = segmenter.logits([image], box)[0]
    network = copy.deepcopy(segmenter.network)
    network.image_encoder = compact(segmenter.encoder, masks)
    found = Segmenter("compact", network, segmenter.preprocessing).logits([image], box)[0]
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(expected.abs().max()))


def test_removing_nothing_is_a_copy(encoder):
    same = compact(encoder, PruningMasks.keep_all(encoder))
    assert same is not encoder
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in same.state_dict().items())


def test_masks_that_cannot_be_made_physical_are_refused(encoder, masks):
    with pytest.raises(ValueError, match=r"the head mask of .* holds the gate 0.5, but .*`masked` runs gates"):
        compact(encoder, masks.weakened(0.5))
    masks.channels[1][:] = 0
    with pytest.raises(ValueError, match=r"channel mask of .* removes all \d+ channels, .* Keep at least one channel"):
        compact(encoder, masks)
    masks.heads[0][:] = 0
    with pytest.raises(ValueError, match=r"head mask of .* removes all \d heads, .* Keep at least one head"):
        compact(encoder, masks)
    with pytest.raises(ValueError, match="Give one mask a block"):
        compact(encoder, PruningMasks(masks.heads[1:], masks.channels))
    with pytest.raises(TypeError, match="not an encoder of the SAM family"):
        compact(nn.Linear(2, 2), masks)
