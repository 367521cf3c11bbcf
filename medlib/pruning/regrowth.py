"""What happens to removed groups when a mask is written into the weights and then forgotten."""

import copy

import torch
from torch import Tensor, nn

from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, check_masks


@torch.no_grad()
def baked(encoder: nn.Module, masks: PruningMasks) -> nn.Module:
    """A copy of the encoder with the gates multiplied into its weights: W becomes W diag(m).

    The columns of the output projection and of the second MLP map that read a removed group become 0, so the output is
    that of the masked encoder. MedCore's pilot does this before its second stage and trains without masks from there.

    Args:
        encoder: see `encoder_blocks`.
        masks: gates for its groups.

    Raises:
        ValueError: the masks do not fit; see `check_masks`.
    """
    check_masks(encoder_blocks(encoder), masks)
    result = copy.deepcopy(encoder)
    for weight, gate in _gated_columns(result, masks):
        weight.mul_(gate)
    return result


@torch.no_grad()
def regrown_share(encoder: nn.Module, masks: PruningMasks) -> float:
    """Share in [0, 1] of the weights that `baked` set to 0 and that are not 0 in this encoder.

    Args:
        encoder: after training that went on from the baked one.
        masks: those that were baked, with at least one group removed.

    Raises:
        ValueError: the masks do not fit, or remove nothing.
    """
    check_masks(encoder_blocks(encoder), masks)
    removed = [weight[:, gate == 0] for weight, gate in _gated_columns(encoder, masks)]
    count = sum(columns.numel() for columns in removed)
    if count == 0:
        raise ValueError("the masks remove no group, so nothing can grow back. Give the masks that were baked.")
    return sum(int(columns.count_nonzero()) for columns in removed) / count


def _gated_columns(encoder: nn.Module, masks: PruningMasks) -> list[tuple[Tensor, Tensor]]:
    """Each weight whose columns groups own, with the gate of every column."""
    pairs = []
    for block, heads, channels in zip(encoder_blocks(encoder), masks.heads, masks.channels, strict=True):
        for path, gate in ((block.projection, heads.repeat_interleave(block.head_dim)), (block.contraction, channels)):
            weight = encoder.get_submodule(path).weight
            pairs.append((weight, gate.to(weight)))
    return pairs
