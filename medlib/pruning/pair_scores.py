"""An adapted model against the one it came from: how far its weights moved, and the two scores on several data sets."""

from collections.abc import Sequence

import torch
from torch import nn

from medlib.data import SegmentationSet
from medlib.models import Segmenter
from medlib.pruning.fisher import boundary_fisher, cross_fisher
from medlib.pruning.groups import GroupValues, encoder_blocks, group_sums
from medlib.pruning.scores import GroupScores, group_scores


def pair_scores(
    adapted: Segmenter, reference: Segmenter, samples: Sequence[SegmentationSet], boundary_weight: float = 3.0
) -> list[GroupScores]:
    """Zeroing and resetting scores, one entry a data set (MedCore).

    The Fisher information of the adapted model is measured on each data set, that of the reference on all of them
    together.

    Args:
        adapted: the segmenter to prune; it comes back as it was.
        reference: the segmenter that it was adapted from; likewise.
        samples: one set a dataset, images with masks, none of them empty.
        boundary_weight: see `boundary_fisher`.

    Raises:
        ValueError: see `boundary_fisher` and `group_scores`.
    """
    pooled = SegmentationSet.from_samples([sample for some in samples for sample in some], "all data sets")
    before = boundary_fisher(reference, pooled, boundary_weight)
    fishers = [boundary_fisher(adapted, some, boundary_weight) for some in samples]
    return [
        group_scores(adapted.encoder, reference.encoder, fisher, cross_fisher(fisher, before)) for fisher in fishers
    ]


@torch.no_grad()
def relative_movement(encoder: nn.Module, reference: nn.Module) -> GroupValues:
    """How far adaptation moved each group's weights, relative to their size: ‖θ − θ^S‖ / ‖θ‖ (ours).

    Args:
        encoder: with the adapted weights θ.
        reference: the same encoder with the weights θ^S that it was adapted from.
    """
    blocks, original = encoder_blocks(encoder), dict(reference.named_parameters())
    parameters = dict(encoder.named_parameters())
    changes = {name: (value - original[name].to(value)).square() for name, value in parameters.items()}
    sizes = group_sums(blocks, {name: value.square() for name, value in parameters.items()})
    return group_sums(blocks, changes).map(lambda change, size: (change / size).sqrt(), sizes)
