"""The groups that structured pruning removes: attention heads and MLP channels, for both encoders of the family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """One parameter's share in the groups of a block.

    Attributes:
        parameter: its name within the encoder, as in `encoder.named_parameters()`.
        axis: 0 when groups own rows, 1 when they own columns.
        index: (groups, k) the positions on that axis that each group owns.
    """

    parameter: str
    axis: int
    index: Tensor


@dataclass(frozen=True)
class Block:
    """A transformer block of an encoder and the parameters of each of its groups.

    A head is its Q, K and V rows with their biases and its columns of the output projection (and, in TinyViT, its row
    of attention biases); an MLP channel is its row and bias in the first linear map and its column in the second
    (MedCore).

    Attributes:
        name: the block's path in the encoder, such as "blocks.3" or "layers.2.blocks.0".
        heads: number of attention heads.
        head_dim: channels of a head.
        channels: number of hidden MLP channels.
        projection: path of the linear map whose input is the concatenated heads.
        contraction: path of the linear map whose input is the MLP channels.
        head_parts: what each head owns.
        channel_parts: what each MLP channel owns.
        head_parameters: parameters of one head.
        channel_parameters: parameters of one MLP channel.
    """

    name: str
    heads: int
    head_dim: int
    channels: int
    projection: str
    contraction: str
    head_parts: tuple[Part, ...] = field(repr=False)
    channel_parts: tuple[Part, ...] = field(repr=False)
    head_parameters: int
    channel_parameters: int


@dataclass(frozen=True, eq=False)
class GroupValues:
    """One number for every group of an encoder.

    Attributes:
        heads: one tensor (heads,) a block.
        channels: one tensor (MLP channels,) a block.
    """

    heads: tuple[Tensor, ...]
    channels: tuple[Tensor, ...]

    def map(self, function: Callable[..., Tensor], *others: "GroupValues") -> "GroupValues":
        """Apply a function to the tensors of each block, those of `others` after its own.

        >>> ones = GroupValues((torch.ones(2),), (torch.ones(3),))
        >>> ones.map(torch.add, ones).heads
        (tensor([2., 2.]),)
        """
        return GroupValues(
            tuple(map(function, self.heads, *(other.heads for other in others))),
            tuple(map(function, self.channels, *(other.channels for other in others))),
        )


def encoder_blocks(encoder: nn.Module) -> list[Block]:
    """List the transformer blocks of an encoder, input to output.

    SAM's ViT keeps all Q rows, then all K, then all V; TinyViT keeps the Q, K and V rows of each head together. The
    convolutional first stage of TinyViT has no heads and is left out.

    Args:
        encoder: segment_anything's ImageEncoderViT, or the TinyViT of LiteMedSAM.

    Raises:
        TypeError: another kind of encoder.
    """
    if isinstance(encoder, ImageEncoderViT):
        return [_sam_block(f"blocks.{i}", block) for i, block in enumerate(encoder.blocks)]
    if type(encoder).__name__ == "TinyViT":
        return [
            _tiny_block(f"layers.{i}.blocks.{j}", block)
            for i, layer in enumerate(encoder.layers)
            for j, block in enumerate(layer.blocks)
            if hasattr(block, "attn")
        ]
    raise TypeError(
        f"{type(encoder).__name__} is not an encoder of the SAM family. Pass an ImageEncoderViT or a TinyViT."
    )


def _sam_block(name: str, block: nn.Module) -> Block:
    heads, width = block.attn.num_heads, block.attn.proj.in_features
    columns = torch.arange(width).view(heads, -1)
    rows = torch.cat([columns + part * width for part in range(3)], dim=1)
    return _block(name, block, rows, columns, ("mlp.lin1", "mlp.lin2"), {})


def _tiny_block(name: str, block: nn.Module) -> Block:
    heads = block.attn.num_heads
    rows = torch.arange(block.attn.qkv.out_features).view(heads, -1)
    columns = torch.arange(block.attn.proj.in_features).view(heads, -1)
    biases = {"attn.attention_biases": torch.arange(heads)[:, None]}
    return _block(name, block, rows, columns, ("mlp.fc1", "mlp.fc2"), biases)


def _block(
    name: str,
    block: nn.Module,
    rows: Tensor,
    columns: Tensor,
    mlp: tuple[str, str],
    extra_rows: dict[str, Tensor],
) -> Block:
    """Assemble a block from each head's rows of qkv (heads, 3 d) and columns of the projection (heads, d)."""
    expand, contract = mlp
    parameters = dict(block.named_parameters())
    channels = torch.arange(parameters[f"{expand}.weight"].shape[0])[:, None]
    head_parts = {("attn.qkv.weight", 0): rows, ("attn.qkv.bias", 0): rows, ("attn.proj.weight", 1): columns}
    head_parts |= {(parameter, 0): index for parameter, index in extra_rows.items()}
    channel_parts = {
        (f"{expand}.weight", 0): channels,
        (f"{expand}.bias", 0): channels,
        (f"{contract}.weight", 1): channels,
    }

    def parts(owned: dict[tuple[str, int], Tensor]) -> tuple[Part, ...]:
        return tuple(Part(f"{name}.{p}", axis, index) for (p, axis), index in owned.items() if p in parameters)

    def size(owned: dict[tuple[str, int], Tensor]) -> int:
        return sum(
            index.shape[1] * parameters[p].numel() // parameters[p].shape[axis]
            for (p, axis), index in owned.items()
            if p in parameters
        )

    return Block(
        name=name,
        heads=len(columns),
        head_dim=columns.shape[1],
        channels=len(channels),
        projection=f"{name}.attn.proj",
        contraction=f"{name}.{contract}",
        head_parts=parts(head_parts),
        channel_parts=parts(channel_parts),
        head_parameters=size(head_parts),
        channel_parameters=size(channel_parts),
    )


def group_sums(blocks: Sequence[Block], values: Mapping[str, Tensor]) -> GroupValues:
    """Add up, for every group, what is given for each parameter it owns: s_g = Σ_{i ∈ g} v_i.

    Args:
        blocks: see `encoder_blocks`.
        values: parameter name → tensor of that parameter's shape; a parameter that is absent counts 0.

    Raises:
        ValueError: a tensor does not have the shape of its parameter.
    """
    return GroupValues(
        tuple(_sums(block.head_parts, block.heads, values) for block in blocks),
        tuple(_sums(block.channel_parts, block.channels, values) for block in blocks),
    )


def _sums(parts: Sequence[Part], groups: int, values: Mapping[str, Tensor]) -> Tensor:
    sums = [_line_sums(part, values[part.parameter]) for part in parts if part.parameter in values]
    return torch.stack(sums).sum(0) if sums else torch.zeros(groups)


def _line_sums(part: Part, value: Tensor) -> Tensor:
    """Sum of each group's rows or columns of one tensor: first along the other axis, then over the group."""
    if part.axis >= value.ndim or value.shape[part.axis] != part.index.numel():
        raise ValueError(
            f"the values of {part.parameter} have shape {tuple(value.shape)}, but its groups share out "
            f"{part.index.numel()} positions on axis {part.axis}. Give a tensor of the parameter's own shape."
        )
    lines = value.sum(1 - part.axis) if value.ndim == 2 else value
    return lines[part.index.to(lines.device)].sum(1)
