"""An encoder taken apart and put together again says what it said."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from medlib.models import lite_medsam
from medlib.pruning import PruningMasks, masked, random_masks
from medlib.pruning.compact import compact
from medlib.pruning.stages import EncoderStages

torch.set_num_threads(1)


def last_stream(encoder: nn.Module, inputs: Tensor, masks: PruningMasks | None = None) -> Tensor:
    """The residual stream after the last block, by stages; groups gated where masks are given."""
    stages = EncoderStages(encoder)
    stream = stages.stem(inputs)
    for number, (block, halves) in enumerate(zip(stages.layout, stages.blocks)):
        heads, channels = (1.0, 1.0) if masks is None else (masks.heads[number], masks.channels[number])
        if masks is not None:
            heads = heads.repeat_interleave(block.head_dim)
        stream = halves.between(stream + halves.projection(halves.heads(stream) * heads))
        stream = stages.bridge(number, stream + halves.contraction(halves.channels(stream) * channels))
    return stream


def features(encoder: nn.Module, inputs: Tensor) -> Tensor:
    """What the encoder itself has after the last block; the neck of a small TinyViT takes other sizes."""
    if not isinstance(encoder, ImageEncoderViT):
        return nn.Sequential(encoder.patch_embed, *encoder.layers)(inputs)
    seen = []
    hook = encoder.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    encoder(inputs)
    hook.remove()
    return seen[0].flatten(1, 2)


def assert_close(found: Tensor, expected: Tensor) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("gated", [False, True])
def test_stages_in_turn_are_the_encoder_gated_or_not(small_encoder, pictures, gated):
    masks = random_masks(small_encoder, heads=0.4, channels=0.5, generator=np.random.default_rng(0)) if gated else None
    with masked(small_encoder, masks) if gated else nullcontext():
        expected = features(small_encoder, pictures)
    assert_close(last_stream(small_encoder, pictures, masks).flatten(1, 2), expected)


@torch.no_grad()
def test_stages_of_a_compact_encoder(small_encoder, pictures):
    masks = random_masks(small_encoder, heads=0.4, channels=0.5, generator=np.random.default_rng(0))
    smaller = compact(small_encoder, masks)
    assert_close(last_stream(smaller, pictures).flatten(1, 2), features(smaller, pictures))


@torch.no_grad()
def test_the_neck_of_a_vit(pictures):
    with torch.random.fork_rng(devices=[]):
        encoder = ImageEncoderViT(img_size=32, patch_size=4, embed_dim=24, depth=2, num_heads=3, out_chans=8).double()
    assert_close(EncoderStages(encoder).neck(last_stream(encoder, pictures)), encoder(pictures))


@torch.no_grad()
def test_the_neck_of_a_tiny_vit():
    """Its neck wants a grid of 64, so this one reads 256² like LiteMedSAM's; little else of it is as large."""
    encoder = type(lite_medsam().encoder)(
        img_size=256, embed_dims=[4, 8, 8, 320], depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2],
        window_sizes=[7, 7, 14, 7], mlp_ratio=0.25, drop_path_rate=0.0,
    ).eval()  # fmt: skip
    inputs = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    found, expected = EncoderStages(encoder).neck(last_stream(encoder, inputs)), encoder(inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_no_hook_stays_behind_even_after_an_error(small_encoder, pictures):
    stages = EncoderStages(small_encoder)
    stream = stages.stem(pictures)
    stages.blocks[0].heads(stream)
    with pytest.raises(RuntimeError):
        stages.blocks[0].heads(stream[..., 1:])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small_encoder.modules())
