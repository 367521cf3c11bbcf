"""Parameters and FLOPs: published counts on the true ViT-B, and agreement with what runs."""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from medlib.models import lite_medsam, tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, random_masks
from medlib.pruning.compact import compact
from medlib.pruning.cost import EncoderCost, encoder_cost

torch.set_num_threads(1)
GLOBAL = (2, 5, 8, 11)
WHOLE_MODEL = 93_735_472


@pytest.fixture(scope="module")
def vit_b() -> nn.Module:
    """SAM's encoder as sam_model_registry["vit_b"] builds it, without memory behind its weights."""
    with torch.device("meta"):
        return ImageEncoderViT(
            norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=14, global_attn_indexes=GLOBAL
        )


@pytest.fixture(scope="module")
def tiny_vit() -> nn.Module:
    return lite_medsam().encoder


def removing(encoder: nn.Module, heads: list[int], channels: list[int]) -> PruningMasks:
    """Masks that remove so many groups of each block, the first ones."""
    masks = PruningMasks.keep_all(encoder)
    for b in range(len(heads)):
        masks.heads[b][: heads[b]] = 0
        masks.channels[b][: channels[b]] = 0
    return masks


def headline(encoder: nn.Module) -> PruningMasks:
    """Head budget .5 and MLP budget .7 with blocks 10 and 11 protected; 21 of the 72 heads in global blocks."""
    heads = [7, 7, 7, 7, 7, 7, 8, 8, 7, 7, 0, 0]
    channels = [2580] * 5 + [2581] * 5 + [0, 0]
    assert (sum(heads), sum(channels), sum(heads[b] for b in GLOBAL)) == (72, 25_805, 21)
    return removing(encoder, heads, channels)


def extreme(encoder: nn.Module) -> PruningMasks:
    """121 heads and 35,005 channels, 43 of the heads in global blocks."""
    heads = [10, 9, 11, 10, 10, 11, 10, 10, 11, 10, 9, 10]
    channels = [2917] * 11 + [2918]
    assert (sum(heads), sum(channels), sum(heads[b] for b in GLOBAL)) == (121, 35_005, 43)
    return removing(encoder, heads, channels)


def test_the_dense_vit_b(vit_b):
    cost = encoder_cost(vit_b)
    assert cost.parameters == 89_670_912
    assert cost.flops / 1e9 == pytest.approx(926.50, abs=0.005)
    assert encoder_cost(vit_b, rule="operators").flops / 1e9 == pytest.approx(972.1, abs=0.05)


def test_the_published_headline(vit_b):
    dense, masks = encoder_cost(vit_b), headline(vit_b)
    left = encoder_cost(vit_b, masks)
    removed = dense.parameters - left.parameters
    assert removed == 72 * 196_800 + 25_805 * 1_537
    assert 100 * removed / dense.parameters == pytest.approx(60.03, abs=0.005)
    assert 100 * removed / WHOLE_MODEL == pytest.approx(57.4, abs=0.05)
    assert 100 * (1 - left.flops / dense.flops) == pytest.approx(58.43, abs=0.005)
    assert encoder_cost(vit_b, masks, rule="operators").flops / 1e9 == pytest.approx(410.2, abs=0.05)


def test_the_published_extreme(vit_b):
    dense, left = encoder_cost(vit_b), encoder_cost(vit_b, extreme(vit_b))
    removed = dense.parameters - left.parameters
    assert 100 * removed / dense.parameters == pytest.approx(86.56, abs=0.005)
    assert 100 * removed / WHOLE_MODEL == pytest.approx(82.8, abs=0.05)
    assert left.flops / 1e9 == pytest.approx(90.44, abs=0.005)


@pytest.mark.parametrize(("block", "gigaflops"), [(0, 1.816), (2, 5.906)])
def test_a_head_costs_more_where_attention_is_global(vit_b, block, gigaflops):
    masks = PruningMasks.keep_all(vit_b)
    masks.heads[block][4] = 0
    assert (encoder_cost(vit_b).flops - encoder_cost(vit_b, masks).flops) / 1e9 == pytest.approx(gigaflops, abs=5e-4)


@pytest.mark.parametrize("rule", ["analytic", "operators"])
@pytest.mark.parametrize("name", ["vit_b", "tiny_vit"])
def test_masking_costs_what_compacting_costs(name, rule, request):
    encoder = request.getfixturevalue(name)
    masks = random_masks(encoder, 0.4, 0.6, np.random.default_rng(0))
    smaller = compact(encoder, masks)
    cost = encoder_cost(encoder, masks, rule=rule)
    assert cost == encoder_cost(smaller, rule=rule)
    assert cost.parameters == sum(parameter.numel() for parameter in smaller.parameters())


def test_without_windows_the_formula_counts_what_runs_but_the_neck():
    encoder = tiny_sam(size=64, width=48, depth=3).encoder
    masks = random_masks(encoder, 0.4, 0.6, np.random.default_rng(0))
    tokens, neck = 8 * 8, 48 * 64 + 9 * 64 * 64
    difference = encoder_cost(encoder, masks, rule="operators").flops - encoder_cost(encoder, masks).flops
    assert difference == 2 * tokens * neck


def test_tiny_vit_differs_from_what_runs_by_neck_and_padding(tiny_vit):
    """LiteMedSAM: windows of 7, 14 and 7 on sides of 128, 64 and 64 are padded to 133, 70 and 70."""
    neck = 2 * 64**2 * (320 * 256 + 9 * 256 * 256)
    padding = 0
    for block, (side, padded, window) in zip(
        encoder_blocks(tiny_vit), [(128, 133, 7)] * 2 + [(64, 70, 14)] * 6 + [(64, 70, 7)] * 2
    ):
        width = block.heads * block.head_dim
        padding += (padded**2 - side**2) * width * (8 * width + 4 * window**2)
    counted, formula = encoder_cost(tiny_vit, rule="operators"), encoder_cost(tiny_vit)
    assert counted.flops - formula.flops == neck + padding
    assert counted.parameters == formula.parameters == 5_726_740


@pytest.mark.parametrize("rule", ["analytic", "operators"])
def test_another_image_size(rule):
    small, large = tiny_sam(size=64, depth=2).encoder, tiny_sam(size=128, depth=2).encoder
    assert encoder_cost(small, image_size=128, rule=rule).flops == encoder_cost(large, rule=rule).flops
    assert encoder_cost(small, image_size=64, rule=rule) == encoder_cost(small, rule=rule)


def test_the_encoder_is_left_as_it_was(tiny_vit):
    state = {name: value.clone() for name, value in tiny_vit.state_dict().items()}
    encoder_cost(tiny_vit, rule="operators")
    assert not tiny_vit.training and {parameter.device.type for parameter in tiny_vit.parameters()} == {"cpu"}
    assert all(torch.equal(value, state[name]) for name, value in tiny_vit.state_dict().items())


def test_what_cannot_be_counted_is_refused(vit_b, tiny_vit):
    with pytest.raises(ValueError, match="image_size 1000 is not a multiple of the patch side 16"):
        encoder_cost(vit_b, image_size=1000)
    with pytest.raises(ValueError, match="image_size 512 for a TinyViT built for 256"):
        encoder_cost(tiny_vit, image_size=512)
    with pytest.raises(ValueError, match=r"rule 'exact' is not a way .* Choose one of analytic, operators"):
        encoder_cost(tiny_vit, rule="exact")
    with pytest.raises(ValueError, match="Use 0 and 1"):
        encoder_cost(tiny_vit, random_masks(tiny_vit, 0.1, 0, np.random.default_rng(0)).weakened(0.5))
    with pytest.raises(ValueError, match="Give one mask a block"):
        encoder_cost(tiny_vit, PruningMasks((), ()))
    with pytest.raises(TypeError, match="not an encoder of the SAM family"):
        encoder_cost(nn.Linear(2, 2))
    assert isinstance(encoder_cost(tiny_vit), EncoderCost)
