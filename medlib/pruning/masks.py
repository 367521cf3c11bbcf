"""Masks that switch groups off, wholly or in part, without touching a weight."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medlib.pruning.groups import Block, encoder_blocks


@dataclass(frozen=True, eq=False)
class PruningMasks:
    """A gate for every group: 1 keeps it, 0 removes it, a value between weakens it.

    Attributes:
        heads: one tensor (heads,) a block, in [0, 1].
        channels: one tensor (MLP channels,) a block, in [0, 1].
    """

    heads: tuple[Tensor, ...]
    channels: tuple[Tensor, ...]

    @classmethod
    def keep_all(cls, encoder: nn.Module) -> "PruningMasks":
        """Masks that remove nothing from this encoder."""
        blocks = encoder_blocks(encoder)
        return cls(tuple(torch.ones(b.heads) for b in blocks), tuple(torch.ones(b.channels) for b in blocks))

    @classmethod
    def of_quotas(cls, encoder: nn.Module, heads: Sequence[int], channels: Sequence[int]) -> "PruningMasks":
        """Masks that remove the first so many heads and channels of each block: enough to count what is left.

        Raises:
            ValueError: there is not one quota a block, or a quota is negative or above what the block has.
        """
        masks = cls.keep_all(encoder)
        for kind, gates, quotas in (("head", masks.heads, heads), ("channel", masks.channels, channels)):
            if len(quotas) != len(gates):
                raise ValueError(f"{len(quotas)} {kind} quotas for {len(gates)} blocks. Give one quota a block.")
            for number, (gate, quota) in enumerate(zip(gates, quotas, strict=True)):
                if not 0 <= quota <= len(gate):
                    raise ValueError(f"block {number} has {len(gate)} {kind}s, not {quota} to remove. Ask for fewer.")
                gate[:quota] = 0
        return masks

    @property
    def quotas(self) -> tuple[list[int], list[int]]:
        """Number of heads and number of channels that each block loses, counting gates that are exactly 0.

        >>> PruningMasks((torch.tensor([0.0, 1.0]),), (torch.zeros(3),)).quotas
        ([1], [3])
        """
        counts = [[int((mask == 0).sum()) for mask in masks] for masks in (self.heads, self.channels)]
        return counts[0], counts[1]

    def weakened(self, gate: float) -> "PruningMasks":
        """The same groups, removed only to the share `gate` in [0, 1]: m becomes 1 − gate (1 − m).

        >>> PruningMasks((torch.tensor([0.0, 1.0]),), (torch.ones(1),)).weakened(0.25).heads
        (tensor([0.7500, 1.0000]),)
        """
        if not 0.0 <= gate <= 1.0:
            raise ValueError(f"gate is {gate}, but is a share of the full perturbation. Give a number in [0, 1].")
        return PruningMasks(
            tuple(1 - gate * (1 - mask) for mask in self.heads),
            tuple(1 - gate * (1 - mask) for mask in self.channels),
        )


def random_masks(encoder: nn.Module, heads: float, channels: float, generator: np.random.Generator) -> PruningMasks:
    """Masks that remove groups in random order, skipping the last head of a block: the baseline that knows nothing.

    Args:
        encoder: see `encoder_blocks`.
        heads: share of all heads of the encoder to remove, in [0, 1); rounded, and at least one head stays in a block.
        channels: share of each block's MLP channels to remove, in [0, 1); rounded.
        generator: draws the groups.

    Raises:
        ValueError: a share is outside [0, 1), or more heads are asked for than can go.
    """
    for name, share in (("heads", heads), ("channels", channels)):
        if not 0.0 <= share < 1.0:
            raise ValueError(f"{name} is {share}, but is the share of {name} to remove. Give a number in [0, 1).")
    blocks, masks = encoder_blocks(encoder), PruningMasks.keep_all(encoder)
    places = [(b, h) for b, block in enumerate(blocks) for h in range(block.heads)]
    wanted, most = round(heads * len(places)), len(places) - len(blocks)
    if wanted > most:
        raise ValueError(f"{wanted} heads cannot go: {most} can, when one stays in each block. Ask for less.")
    for b, h in (places[i] for i in generator.permutation(len(places))):
        if wanted and masks.heads[b].sum() > 1:
            masks.heads[b][h] = 0
            wanted -= 1
    for block, mask in zip(blocks, masks.channels, strict=True):
        mask[torch.from_numpy(generator.permutation(block.channels)[: round(channels * block.channels)])] = 0
    return masks


def check_masks(blocks: list[Block], masks: PruningMasks) -> None:
    """Raise ValueError unless the masks fit the blocks: one a block, the right lengths, finite values in [0, 1]."""
    for kind, given, sizes in (
        ("head", masks.heads, [block.heads for block in blocks]),
        ("channel", masks.channels, [block.channels for block in blocks]),
    ):
        if len(given) != len(sizes):
            raise ValueError(f"{len(given)} {kind} masks for {len(sizes)} blocks. Give one mask a block.")
        for block, mask, size in zip(blocks, given, sizes, strict=True):
            if mask.shape != (size,):
                raise ValueError(
                    f"the {kind} mask of {block.name} has shape {tuple(mask.shape)}, but the block has {size} {kind}s. "
                    "Make the masks for this encoder."
                )
            if not bool(((mask >= 0) & (mask <= 1)).all()):
                raise ValueError(f"the {kind} mask of {block.name} leaves [0, 1]. Use 0 to remove and 1 to keep.")


@contextmanager
def masked(encoder: nn.Module, masks: PruningMasks) -> Iterator[nn.Module]:
    """Run the encoder with groups gated, as long as the with-block lasts; no hook or weight is left changed.

    The gates multiply the inputs of each block's output projection and of its second MLP map (MedCore).

    Args:
        encoder: see `encoder_blocks`.
        masks: gates for its groups.

    Raises:
        ValueError: the masks do not fit; see `check_masks`.
    """
    blocks = encoder_blocks(encoder)
    check_masks(blocks, masks)
    hooks = []
    try:
        for block, heads, channels in zip(blocks, masks.heads, masks.channels, strict=True):
            gates = {block.projection: heads.repeat_interleave(block.head_dim), block.contraction: channels}
            for path, gate in gates.items():
                if not bool((gate == 1).all()):
                    hooks.append(encoder.get_submodule(path).register_forward_pre_hook(_gating(gate)))
        yield encoder
    finally:
        for hook in hooks:
            hook.remove()


def _gating(gate: Tensor):  # noqa: ANN202
    def multiply(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0] * gate.to(inputs[0]),)

    return multiply


def removed_parameters(encoder: nn.Module, masks: PruningMasks) -> int:
    """Parameters of the encoder that belong to groups whose gate is exactly 0.

    Raises:
        ValueError: the masks do not fit; see `check_masks`.
    """
    blocks = encoder_blocks(encoder)
    check_masks(blocks, masks)
    return sum(
        int((heads == 0).sum()) * block.head_parameters + int((channels == 0).sum()) * block.channel_parameters
        for block, heads, channels in zip(blocks, masks.heads, masks.channels, strict=True)
    )
