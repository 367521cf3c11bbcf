"""What an encoder costs: its parameters, and the floating-point operations of one image."""

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medlib.pruning.compact import check_removal, compact
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, removed_parameters


@dataclass(frozen=True)
class EncoderCost:
    """The cost of an encoder.

    Attributes:
        parameters: how many there are.
        flops: floating-point operations of one image; a multiplication with its addition counts as two.
    """

    parameters: int
    flops: float


def encoder_cost(
    encoder: nn.Module,
    masks: PruningMasks | None = None,
    image_size: int | None = None,
    rule: Literal["analytic", "operators"] = "analytic",
) -> EncoderCost:
    """Count the parameters and the FLOPs that an encoder keeps once masked groups are removed.

    The analytic rule is the one that gives MedCore's published figures. With S tokens of width D, a head of d channels
    costs 8 S D d + 4 S a d, where a is the number of tokens it attends to (S, or those of a window), and an MLP channel
    costs 4 S D. Added are the patch embedding and, in TinyViT (ours), the other convolutions. The padding of windows,
    relative positions and the neck are left out. "operators" counts all that runs, with torch's FLOP counter and
    without computing anything.

    Args:
        encoder: see `encoder_blocks`; it is left as it was. Its weights are not read, so it may be on "meta".
        masks: 0 for groups that are removed, 1 for those that stay; nothing is removed when None.
        image_size: side of the square input in pixels; the encoder's own when None. TinyViT takes no other.
        rule: how FLOPs are counted.

    Raises:
        ValueError: masks that `compact` refuses, an image size the encoder cannot take, an unknown rule.

    >>> from medlib.models import tiny_sam
    >>> encoder_cost(tiny_sam(depth=1).encoder)
    EncoderCost(parameters=198208, flops=91226112.0)
    """
    blocks = encoder_blocks(encoder)
    masks = PruningMasks.keep_all(encoder) if masks is None else masks
    check_removal(blocks, masks)
    if rule not in _RULES:
        raise ValueError(f"rule {rule!r} is not a way to count FLOPs. Choose one of {', '.join(_RULES)}.")
    size = _checked_size(encoder, image_size)
    parameters = sum(p.numel() for p in encoder.parameters()) - removed_parameters(encoder, masks)
    return EncoderCost(parameters, float(_RULES[rule](encoder, masks, size)))


def _checked_size(encoder: nn.Module, image_size: int | None) -> int:
    size = encoder.img_size if image_size is None else image_size
    if isinstance(encoder, ImageEncoderViT):
        patch = encoder.patch_embed.proj.stride[0]
        if size < patch or size % patch:
            raise ValueError(f"image_size {size} is not a multiple of the patch side {patch}. Give one that is.")
    elif size != encoder.img_size:
        raise ValueError(
            f"image_size {size} for a TinyViT built for {encoder.img_size}, which takes no other. Leave image_size out."
        )
    return size


def _analytic_flops(encoder: nn.Module, masks: PruningMasks, size: int) -> int:
    vit = isinstance(encoder, ImageEncoderViT)
    flops = _patch_embedding_flops(encoder, size) if vit else _convolution_flops(encoder)
    spans = _vit_spans(encoder, size) if vit else _tiny_vit_spans(encoder)
    for block, heads, channels, (tokens, attended) in zip(
        encoder_blocks(encoder), masks.heads, masks.channels, spans, strict=True
    ):
        width = encoder.get_submodule(block.contraction).out_features
        per_head = 8 * tokens * width * block.head_dim + 4 * tokens * attended * block.head_dim
        flops += int(heads.sum()) * per_head + int(channels.sum()) * 4 * tokens * width
    return flops


def _vit_spans(encoder: nn.Module, size: int) -> list[tuple[int, int]]:
    """Tokens of each block of SAM's ViT, and how many of them each token attends to."""
    tokens = (size // encoder.patch_embed.proj.stride[0]) ** 2
    return [(tokens, block.window_size**2 or tokens) for block in encoder.blocks]


def _tiny_vit_spans(encoder: nn.Module) -> list[tuple[int, int]]:
    """The same for TinyViT."""
    return [
        (math.prod(block.input_resolution), block.window_size**2)
        for layer in encoder.layers
        for block in layer.blocks
        if hasattr(block, "attn")
    ]


def _patch_embedding_flops(encoder: nn.Module, size: int) -> int:
    projection = encoder.patch_embed.proj
    return 2 * (size // projection.stride[0]) ** 2 * projection.weight.numel()


def _convolution_flops(encoder: nn.Module) -> int:
    """FLOPs of all TinyViT's convolutions but the neck's."""
    total = _convolutions(encoder.patch_embed, math.prod(encoder.patches_resolution))
    for layer, following in zip(encoder.layers, [*encoder.layers[1:], None], strict=True):
        positions = math.prod(layer.input_resolution)
        total += _convolutions(layer.blocks, positions)
        if following is not None:
            merged = math.prod(following.input_resolution)
            total += _convolutions(layer.downsample.conv1, positions)
            total += _convolutions(layer.downsample.conv2, merged) + _convolutions(layer.downsample.conv3, merged)
    return total


def _convolutions(module: nn.Module, positions: int) -> int:
    """FLOPs of the convolutions in a module, each run at so many positions."""
    return 2 * positions * sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))


def _operator_flops(encoder: nn.Module, masks: PruningMasks, size: int) -> int:
    outline = compact(copy.deepcopy(encoder).to("meta"), masks).eval()
    if isinstance(encoder, ImageEncoderViT):
        outline.pos_embed = None  # an addition, which is not counted, and the only thing that fixes the image size
    channels = next(m.in_channels for m in outline.modules() if isinstance(m, nn.Conv2d))
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        outline(torch.empty(1, channels, size, size))
    return counter.get_total_flops()


_RULES = {"analytic": _analytic_flops, "operators": _operator_flops}
