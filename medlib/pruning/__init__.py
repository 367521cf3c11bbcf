"""Structured pruning of SAM-family image encoders: the groups, and masks that switch them off."""

from medlib.pruning.contour_attribution import HeadRemoval, head_displacements, remove_heads
from medlib.pruning.gated_logits import gated_logits
from medlib.pruning.groups import Block, Part, encoder_blocks
from medlib.pruning.masks import PruningMasks, masked, random_masks, removed_parameters

__all__ = [
    "Block",
    "HeadRemoval",
    "Part",
    "PruningMasks",
    "encoder_blocks",
    "gated_logits",
    "head_displacements",
    "masked",
    "random_masks",
    "remove_heads",
    "removed_parameters",
]
