"""Choosing what to remove by how well the rest can make up for it."""

import copy
import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from tqdm import tqdm

from medlib.pruning.budgets import channel_floors
from medlib.pruning.calibration import check_calibration
from medlib.pruning.groups import Block, encoder_blocks
from medlib.pruning.masks import PruningMasks
from medlib.pruning.moments import Moments, at_resolution
from medlib.pruning.removal_curve import RemovalCurve, removal_curve
from medlib.pruning.stages import EncoderStages


@dataclass(frozen=True, eq=False)
class ReconstructionCurves:
    """What removing more and more groups costs at every map that writes to the residual stream of an encoder.

    Attributes:
        heads: one curve a block, of its output projection.
        channels: one curve a block, of its second MLP map.
        layout: the blocks.
        parameters: of the whole encoder.
    """

    heads: tuple[RemovalCurve, ...]
    channels: tuple[RemovalCurve, ...]
    layout: list[Block]
    parameters: int

    def select(self, budget: float) -> PruningMasks:
        """Masks that remove a share `budget` of the encoder's parameters; see `select_by_reconstruction`."""
        sites = _sites(self.layout)
        _check_budget(sites, budget, self.parameters)
        curves = [curve for pair in zip(self.heads, self.channels, strict=True) for curve in pair]
        counts = _cheapest(curves, sites, budget * self.parameters)
        gates = [torch.ones(site.groups) for site in sites]
        for gate, curve, count in zip(gates, curves, counts, strict=True):
            gate[curve.order[:count]] = 0
        return PruningMasks(tuple(gates[::2]), tuple(gates[1::2]))


@torch.no_grad()
def reconstruction_curves(
    encoder: nn.Module, calibration: Tensor, token_weights: Tensor | None = None, progress: bool = False
) -> ReconstructionCurves:
    """Measure, for every projection and every second MLP map, what is lost when its cheapest groups go (ours).

    The loss is the share of the variance of what the map writes that no re-solved weights of the kept groups can give
    back; see `removal_curve`. One pass over the calibration pictures, without labels.

    Args:
        encoder: see `encoder_blocks`; it is left as it was.
        calibration: (N, 3, S, S) encoder inputs.
        token_weights: (N, h, w) non-negative; how much each place of each picture counts; all alike when None.
        progress: show a bar on stderr.

    Raises:
        ValueError: the calibration cannot be used.
    """
    check_calibration(encoder, calibration, token_weights)
    stages = EncoderStages(copy.deepcopy(encoder).eval())
    sites, moments = _sites(stages.layout), _input_moments(stages, calibration, token_weights, progress)
    curves = [
        removal_curve(site.map(stages).weight, read.covariance, site.group_size, site.groups - site.removable)
        for site, read in zip(sites, moments, strict=True)
    ]
    total = sum(parameter.numel() for parameter in encoder.parameters())
    return ReconstructionCurves(tuple(curves[::2]), tuple(curves[1::2]), stages.layout, total)


def select_by_reconstruction(
    encoder: nn.Module,
    calibration: Tensor,
    budget: float,
    token_weights: Tensor | None = None,
    progress: bool = False,
) -> PruningMasks:
    """Choose heads and channels whose removal the kept weights can best make up for (ours).

    With e_l(k) the curves of `reconstruction_curves`, the numbers k_l minimise Σ_l e_l(k_l) under the budget on
    parameters, on the lower convex hull of each curve. Follow it with `compensate`.

    Args:
        encoder: see `encoder_blocks`; it is left as it was.
        calibration: (N, 3, S, S) encoder inputs.
        budget: share of all the encoder's parameters to remove, in [0, 1); met to within one group.
        token_weights: (N, h, w) non-negative; how much each place of each picture counts; all alike when None.
        progress: show a bar on stderr.

    Raises:
        ValueError: the calibration cannot be used, or the budget is outside [0, 1) or above what can go when one head
            and 5 % of the channels stay in every block.
    """
    _check_budget(_sites(encoder_blocks(encoder)), budget, sum(p.numel() for p in encoder.parameters()))
    return reconstruction_curves(encoder, calibration, token_weights, progress).select(budget)


@dataclass(frozen=True)
class _Site:
    """A linear map that writes to the residual stream, and the groups it reads."""

    block: int
    channels: bool
    groups: int
    group_size: int
    cost: int
    removable: int

    def map(self, stages: EncoderStages) -> nn.Linear:
        halves = stages.blocks[self.block]
        return halves.contraction if self.channels else halves.projection


def _sites(layout: list[Block]) -> list[_Site]:
    """Heads and channels of every block, in turn."""
    sites = []
    for number, (block, least) in enumerate(zip(layout, channel_floors(layout), strict=True)):
        sites.append(_Site(number, False, block.heads, block.head_dim, block.head_parameters, block.heads - 1))
        sites.append(_Site(number, True, block.channels, 1, block.channel_parameters, block.channels - least))
    return sites


def _check_budget(sites: list[_Site], budget: float, parameters: int) -> None:
    most = sum(site.removable * site.cost for site in sites) / parameters
    if not 0.0 <= budget < 1.0 or budget > most:
        raise ValueError(
            f"the budget is {budget:g} of the encoder's parameters, but between 0 and {most:.4f} of them can go when "
            "one head and 5 % of the channels stay in every block. Ask for less."
        )


def _input_moments(
    stages: EncoderStages, calibration: Tensor, token_weights: Tensor | None, progress: bool
) -> list[Moments]:
    """Moments of what every site reads, over the calibration pictures."""
    moments = [Moments(size) for block in stages.layout for size in (block.heads * block.head_dim, block.channels)]
    for i in tqdm(range(len(calibration)), desc="reading activations", disable=not progress):
        weights = None if token_weights is None else token_weights[i : i + 1]
        stream = stages.stem(calibration[i : i + 1])
        for number, halves in enumerate(stages.blocks):
            places = at_resolution(weights, stream)
            heads = halves.heads(stream)
            moments[2 * number].add(heads, weights=places)
            stream = halves.between(stream + halves.projection(heads))
            channels = halves.channels(stream)
            moments[2 * number + 1].add(channels, weights=places)
            stream = stages.bridge(number, stream + halves.contraction(channels))
    return moments


def _cheapest(curves: list[RemovalCurve], sites: list[_Site], wanted: float) -> list[int]:
    """How many groups of each site go: those that cost least for a parameter, until `wanted` parameters are gone."""
    steps = sorted(
        (slope / site.cost, place, groups)
        for place, (curve, site) in enumerate(zip(curves, sites, strict=True))
        for slope, groups in _hull_steps(curve.error.tolist())
    )
    counts = [0] * len(sites)
    for _, place, groups in steps:
        cost = sites[place].cost
        fits = math.ceil(wanted / cost - 0.5) if sites[place].group_size > 1 else math.ceil(wanted / cost)
        taken = min(groups, max(0, fits))
        counts[place] += taken
        wanted -= taken * cost
    return counts


def _hull_steps(error: list[float]) -> list[tuple[float, int]]:
    """(error a group, groups) along the lower convex hull of the points (k, error of removing k groups)."""
    hull = [(0, 0.0)]
    for point in enumerate(error, start=1):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(_slope(a, b), b[0] - a[0]) for a, b in pairwise(hull)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
