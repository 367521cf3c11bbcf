"""Plain transcriptions of MedCore's scores: one group after another, straight from the definitions.

They share no code with medlib. The benchmarks time them, the tests compare values with them.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

Scores = tuple[list[list[float]], list[list[float]]]  # heads and channels of each block


def owned_by_head(block: str, head: int, size: int, tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """What one head of SAM's ViT owns: its Q, K and V rows and biases, and its columns of the output projection."""
    width = tensors[f"{block}.attn.proj.weight"].shape[1]
    for part in range(3):
        rows = slice(part * width + head * size, part * width + (head + 1) * size)
        yield tensors[f"{block}.attn.qkv.weight"][rows]
        yield tensors[f"{block}.attn.qkv.bias"][rows]
    yield tensors[f"{block}.attn.proj.weight"][:, head * size : (head + 1) * size]


def owned_by_channel(block: str, channel: int, tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """What one MLP channel owns: its row and bias in lin1 and its column in lin2."""
    yield tensors[f"{block}.mlp.lin1.weight"][channel]
    yield tensors[f"{block}.mlp.lin1.bias"][channel]
    yield tensors[f"{block}.mlp.lin2.weight"][:, channel]


@torch.no_grad()
def plain_group_scores(
    encoder: nn.Module, reference: nn.Module, fisher: Mapping[str, Tensor], cross: Mapping[str, Tensor]
) -> tuple[Scores, Scores]:
    """½ Σ F θ² and ½ Σ √(F F') (θ − θ')² of every head and channel of SAM's ViT."""
    adapted, original = dict(encoder.named_parameters()), dict(reference.named_parameters())
    zero: Scores = ([], [])
    reset: Scores = ([], [])
    for index, block in enumerate(encoder.blocks):
        name, heads = f"blocks.{index}", block.attn.num_heads
        size, channels = block.attn.proj.in_features // heads, block.mlp.lin1.out_features
        owners = (
            [partial(owned_by_head, name, g, size) for g in range(heads)],
            [partial(owned_by_channel, name, g) for g in range(channels)],
        )
        for kind, groups in enumerate(owners):
            zero[kind].append([_half_sum(owned(fisher), owned(adapted)) for owned in groups])
            reset[kind].append([_half_sum(owned(cross), owned(adapted), owned(original)) for owned in groups])
    return zero, reset


def _half_sum(fisher: Iterator[Tensor], values: Iterator[Tensor], origin: Iterator[Tensor] | None = None) -> float:
    changes = values if origin is None else (value - start for value, start in zip(values, origin, strict=True))
    return sum(0.5 * float((weight * change**2).sum()) for weight, change in zip(fisher, changes, strict=True))


def plain_boundary_loss(logits: Tensor, mask: Tensor, boundary_weight: float) -> Tensor:
    """Σ (1 + w band) BCE + Dice loss, with the band from max-pooling as a square dilation and erosion."""
    target = mask.to(logits)[None, None]
    dilated = functional.max_pool2d(target, 3, stride=1, padding=1)
    eroded = -functional.max_pool2d(-target, 3, stride=1, padding=1)  # pads with −∞: outside is foreground
    weight = 1 + boundary_weight * (dilated - eroded)[0, 0]
    target, probability = target[0, 0], 1 / (1 + torch.exp(-logits))
    entropy = -(target * torch.log(probability) + (1 - target) * torch.log(1 - probability))
    dice = (2 * (probability * target).sum() + 1e-5) / ((probability**2).sum() + (target**2).sum() + 1e-5)
    return (weight * entropy).sum() + 1 - dice
