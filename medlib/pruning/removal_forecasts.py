"""All that one pass of gradients over the images foretells about removing a group."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medlib.data import SegmentationSet
from medlib.models import Segmenter
from medlib.pruning.fisher import visit_gradients
from medlib.pruning.groups import GroupValues, encoder_blocks, group_sums


@dataclass(frozen=True, eq=False)
class RemovalForecasts:
    """Three forecasts from the products a_{n,i} = θ_i ∂L_n/∂θ_i of weights and gradients of image n.

    Attributes:
        zero: Δzero, ½ mean_n Σ_{i ∈ g} a²_{n,i}: never negative (MedCore).
        taylor: mean_n ``|Σ_{i ∈ g} a_{n,i}|``: never negative, but sums before it takes the size (Molchanov et al.).
        signed: −mean_n Σ_{i ∈ g} a_{n,i}, the first-order term of the expansion, which the other two leave out: below 0
            where the loss should *fall* when the group goes.
    """

    zero: GroupValues
    taylor: GroupValues
    signed: GroupValues


def removal_forecasts(model: Segmenter, samples: SegmentationSet, progress: bool = False) -> RemovalForecasts:
    """Foretell what removing each head and each MLP channel does to `boundary_loss`, one image after another.

    Args:
        model: the segmenter; it comes back as it was.
        samples: images with masks, none of them empty.
        progress: show a bar on stderr.

    Raises:
        ValueError: see `boundary_fisher`.
    """
    blocks, parameters = encoder_blocks(model.encoder), dict(model.encoder.named_parameters())
    squares: list[GroupValues] = []
    sums: list[GroupValues] = []

    def visit(gradients: Mapping[str, Tensor]) -> None:
        products = {name: gradient * parameters[name].detach() for name, gradient in gradients.items()}
        sums.append(group_sums(blocks, products))
        squares.append(group_sums(blocks, {name: product.square_() for name, product in products.items()}))

    visit_gradients(model, samples, visit, progress=progress)
    return RemovalForecasts(
        zero=_mean(squares).map(lambda values: values / 2),
        taylor=_mean([values.map(torch.abs) for values in sums]),
        signed=_mean(sums).map(torch.neg),
    )


def _mean(per_image: list[GroupValues]) -> GroupValues:
    first, *others = per_image
    return first.map(lambda *values: torch.stack(values).mean(0), *others)
