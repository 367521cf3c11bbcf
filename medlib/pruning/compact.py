"""A smaller encoder without the rows and columns that masks remove."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from medlib.pruning.groups import Block, Part, encoder_blocks
from medlib.pruning.masks import PruningMasks, check_masks


def compact(encoder: nn.Module, masks: PruningMasks) -> nn.Module:
    """A copy of the encoder in which removed groups no longer exist; its output is that of the masked encoder.

    Head dimension, attention scale, relative positions and width stay (MedCore). The copy is an encoder of the same
    family: it can be listed, masked, trained and compacted again.

    Args:
        encoder: see `encoder_blocks`; it is left as it was.
        masks: 0 removes a group, 1 keeps it; at least one head and one channel stay in each block.

    Returns:
        An encoder on the same device, in the same mode, whose output equals that of `masked` up to rounding.

    Raises:
        ValueError: the masks do not fit, hold a gate between 0 and 1, or empty a block.

    >>> from medlib.models import tiny_sam
    >>> encoder = tiny_sam(depth=1).encoder
    >>> masks = PruningMasks.keep_all(encoder)
    >>> masks.heads[0][:3] = 0
    >>> [(block.heads, block.head_dim, block.channels) for block in encoder_blocks(compact(encoder, masks))]
    [(1, 24, 384)]
    """
    blocks = encoder_blocks(encoder)
    check_removal(blocks, masks)
    smaller = copy.deepcopy(encoder)
    for block, heads, channels in zip(blocks, masks.heads, masks.channels, strict=True):
        _keep(smaller, block.head_parts, kept_groups(heads))
        _keep(smaller, block.channel_parts, kept_groups(channels))
        _update_heads(smaller.get_submodule(block.name).attn, kept_groups(heads))
    return smaller


def check_removal(blocks: list[Block], masks: PruningMasks) -> None:
    """Raise ValueError unless the masks fit the blocks, hold only 0 and 1, and leave something in each block."""
    check_masks(blocks, masks)
    check_whole_gates(blocks, masks)


def check_whole_gates(blocks: list[Block], masks: PruningMasks) -> None:
    """Raise ValueError unless each mask holds only 0 and 1, and at least one 1; lengths are not checked."""
    for kind, given in (("head", masks.heads), ("channel", masks.channels)):
        for block, mask in zip(blocks, given, strict=True):
            between = mask[(mask != 0) & (mask != 1)]
            if len(between):
                raise ValueError(
                    f"the {kind} mask of {block.name} holds the gate {float(between[0]):g}, but a group is removed or "
                    "kept. Use 0 and 1 here; `masked` runs gates between them."
                )
            if not bool(mask.any()):
                raise ValueError(
                    f"the {kind} mask of {block.name} removes all {len(mask)} {kind}s, but a block cannot run without "
                    f"any. Keep at least one {kind} in each block."
                )


def kept_groups(mask: Tensor) -> Tensor:
    """Positions of the groups that a mask of 0 and 1 keeps, ascending, on the CPU."""
    return mask.nonzero().flatten().cpu()


def _keep(encoder: nn.Module, parts: Sequence[Part], groups: Tensor) -> None:
    """Replace each part's parameter by what these groups own of it, in the old order."""
    for part in parts:
        path, _, name = part.parameter.rpartition(".")
        module = encoder.get_submodule(path)
        parameter = getattr(module, name)
        positions = part.index[groups].flatten().sort().values.to(parameter.device)
        smaller = parameter.detach().index_select(part.axis, positions)
        setattr(module, name, nn.Parameter(smaller, parameter.requires_grad))
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape


def _update_heads(attention: nn.Module, heads: Tensor) -> None:
    """Set what an attention module remembers of its heads: their number and, in TinyViT, widths and cached biases."""
    attention.num_heads = len(heads)
    if hasattr(attention, "key_dim"):
        attention.nh_kd, attention.dh = len(heads) * attention.key_dim, len(heads) * attention.d
    if hasattr(attention, "ab"):
        attention.ab = attention.ab.index_select(0, heads.to(attention.ab.device))
