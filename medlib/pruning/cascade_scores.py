"""The score of every group by each of the methods that a cascade compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medlib.data import SegmentationSet
from medlib.models import Segmenter
from medlib.pruning.fisher import Fisher, block_sensitivity, boundary_fisher, cross_fisher
from medlib.pruning.groups import GroupValues, encoder_blocks
from medlib.pruning.masks import PruningMasks, masked
from medlib.pruning.rival_scores import magnitude_scores, random_scores, taylor_scores
from medlib.pruning.scores import combine, group_scores, mixing_weights, mixture, normalised

Method = Literal["dual", "dual_normalised", "zero", "reset", "magnitude", "taylor", "random"]

WITH_REFERENCE = ("dual", "dual_normalised", "reset")


def check_method(method: str) -> None:
    """Raise ValueError unless `method` names a score."""
    if method not in get_args(Method):
        raise ValueError(f"method {method!r} is unknown. Use one of: {', '.join(get_args(Method))}.")


@dataclass(frozen=True, eq=False)
class MethodScores:
    """What a method says about an encoder.

    Attributes:
        values: one number a group; the higher, the more it is needed.
        sensitivity: one number a block, by which a budget is shared out.
        alpha: (blocks,) share of the zeroing score in each block; all 1 where a method does not mix two scores.
    """

    values: GroupValues
    sensitivity: list[float]
    alpha: Tensor


def method_scores(
    method: Method,
    model: Segmenter,
    reference: Segmenter,
    samples: Sequence[SegmentationSet],
    weights: Sequence[float],
    *,
    masks: PruningMasks,
    reference_fisher: Fisher | None,
    generator: np.random.Generator,
    alpha: Tensor | None = None,
    beta: float = 0.3,
    progress: bool = False,
) -> MethodScores:
    """Score the groups of a model by one method; the sensitivity of the blocks is the Fisher information for all.

    "dual" is MedCore's α Δzero + (1 − α) Δreset; "dual_normalised" divides both by their block means first; "zero" and
    "reset" use one of them alone; "magnitude", "taylor" and "random" are the rivals. Over several datasets the Fisher
    information of the model is measured on each, and that of the reference on all of them together.

    Args:
        method: its name.
        model: the adapted segmenter.
        reference: the segmenter that it was adapted from.
        samples: one set a dataset.
        weights: of the datasets, with sum 1.
        masks: gates that are on in the model while it is measured.
        reference_fisher: Fisher information of the reference; None will do for the methods outside `WITH_REFERENCE`.
        generator: of the random scores.
        alpha: mixing weights to use; measured on the scores when None.
        beta: weight of the variance between datasets.
        progress: show bars on stderr.

    Raises:
        ValueError: see `boundary_fisher`, `group_scores` and `combine`.
    """
    blocks = encoder_blocks(model.encoder)
    with masked(model.encoder, masks):
        fishers = [boundary_fisher(model, some, progress=progress) for some in samples]
        rival = _rival_scores(method, model, samples, weights, generator, progress)
    per_dataset = [block_sensitivity(blocks, fisher) for fisher in fishers]
    sensitivity = (np.array(weights) @ np.array(per_dataset)).tolist()
    ones = torch.ones(len(blocks))
    if rival is not None:
        return MethodScores(rival, sensitivity, ones)
    scores = [
        group_scores(model.encoder, reference.encoder, fisher, _cross(fisher, reference_fisher)) for fisher in fishers
    ]
    if method == "dual_normalised":
        scores = [normalised(some) for some in scores]
    if alpha is None:
        fixed = {"zero": ones, "reset": 0 * ones}
        alpha = fixed[method] if method in fixed else mixing_weights(mixture(scores, weights)).cpu()
    return MethodScores(combine(scores, alpha, weights, beta), sensitivity, alpha)


def _cross(fisher: Fisher, reference_fisher: Fisher | None) -> Fisher:
    """Where nothing is reset, the resetting score has no weight and any Fisher information will do."""
    return fisher if reference_fisher is None else cross_fisher(fisher, reference_fisher)


def _rival_scores(
    method: Method,
    model: Segmenter,
    samples: Sequence[SegmentationSet],
    weights: Sequence[float],
    generator: np.random.Generator,
    progress: bool,
) -> GroupValues | None:
    """Scores that need neither the Fisher information nor the reference; None for the other methods."""
    if method == "magnitude":
        return magnitude_scores(model.encoder)
    if method == "random":
        return random_scores(model.encoder, generator)
    if method != "taylor":
        return None
    first, *others = [taylor_scores(model, some, progress) for some in samples]
    return first.map(lambda *values: sum(w * v for w, v in zip(weights, values, strict=True)), *others)
