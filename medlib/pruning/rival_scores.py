"""Scores that MedCore's have to beat: weight magnitude, the first-order Taylor term, and chance."""

import numpy as np
import torch
from torch import Tensor, nn

from medlib.data import SegmentationSet
from medlib.models import Segmenter
from medlib.pruning.groups import GroupValues, encoder_blocks, group_sums
from medlib.pruning.removal_forecasts import removal_forecasts


@torch.no_grad()
def magnitude_scores(encoder: nn.Module) -> GroupValues:
    """Euclidean norm of each group's parameters, √(Σ_{i ∈ g} θ_i²): no data needed.

    Args:
        encoder: see `encoder_blocks`.
    """
    squares = {name: parameter.square() for name, parameter in encoder.named_parameters()}
    return group_sums(encoder_blocks(encoder), squares).map(torch.sqrt)


def taylor_scores(model: Segmenter, samples: SegmentationSet, progress: bool = False) -> GroupValues:
    """First-order change of the loss when a group is removed: mean over images of ``|Σ_{i ∈ g} θ_i ∂L/∂θ_i|``.

    The absolute value is taken for each image, after Molchanov et al. (CVPR 2019), who square it instead; L is
    `boundary_loss`.

    Args:
        model: the segmenter; it comes back as it was.
        samples: images with masks, none of them empty.
        progress: show a bar on stderr.

    Raises:
        ValueError: see `boundary_fisher`.
    """
    return removal_forecasts(model, samples, progress).taylor


def random_scores(encoder: nn.Module, generator: np.random.Generator) -> GroupValues:
    """Uniform numbers in [0, 1): the baseline that knows nothing.

    Args:
        encoder: see `encoder_blocks`.
        generator: draws the numbers.
    """

    def draw(count: int) -> Tensor:
        return torch.from_numpy(generator.random(count, dtype=np.float32))

    blocks = encoder_blocks(encoder)
    return GroupValues(tuple(draw(b.heads) for b in blocks), tuple(draw(b.channels) for b in blocks))
