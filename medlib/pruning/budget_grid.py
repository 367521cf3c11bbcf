"""Models on a grid of head and channel budgets, and the steps between them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import TypeAlias

from torch import nn

from medlib.pruning.budgets import Rule, allocate, channel_floors, largest_budget, select
from medlib.pruning.groups import Block, GroupValues, encoder_blocks
from medlib.pruning.masks import PruningMasks, removed_parameters

# A model of the grid, by the positions of its head budget and of its channel budget.
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class BudgetRules:
    """How a budget becomes a number of groups for each block.

    Attributes:
        rule: see `allocate`.
        sensitivity: one number a block; see `block_sensitivity`.
        protected: positions of the blocks that lose nothing.
        smallest_mlp: share of a block's channels that stays in any case (MedCore: 0.05).
    """

    rule: Rule
    sensitivity: tuple[float, ...]
    protected: tuple[int, ...] = ()
    smallest_mlp: float = 0.05

    def levels(
        self, blocks: Sequence[Block], heads: Iterable[float], channels: Iterable[float]
    ) -> tuple[list[float], list[float]]:
        """The head budgets and the channel budgets of a sweep that differ; see `distinct_budgets`."""
        least = channel_floors(blocks, self.smallest_mlp)
        return (
            distinct_budgets(heads, [b.heads for b in blocks], 1, self.protected),
            distinct_budgets(channels, [b.channels for b in blocks], least, self.protected),
        )

    def head_quotas(self, blocks: Sequence[Block], budget: float) -> list[int]:
        """Heads to remove from each block; one stays."""
        return allocate(self.sensitivity, budget, [b.heads for b in blocks], 1, self.protected, self.rule)

    def channel_quotas(self, blocks: Sequence[Block], budget: float) -> list[int]:
        """MLP channels to remove from each block."""
        least = channel_floors(blocks, self.smallest_mlp)
        return allocate(self.sensitivity, budget, [b.channels for b in blocks], least, self.protected, self.rule)


def distinct_budgets(
    budgets: Iterable[float], units: Sequence[int], minimum: int | Sequence[int], protected: Sequence[int] = ()
) -> list[float]:
    """The budgets of a sweep that differ in what they remove; those above what caps allow become that largest one.

    Args:
        budgets: shares of the units to remove.
        units: heads or channels of each block.
        minimum: that stay in each block; one number, or one a block.
        protected: positions of the blocks that lose nothing.

    Returns:
        In increasing order; the smallest of those that remove the same number of units.

    >>> distinct_budgets([0.5, 0.7, 0.8, 0.9], [12] * 12, minimum=1, protected=[10, 11])  # 110 of 144 can go
    [0.5, 0.7, 0.7638888888888888]
    """
    most, total = largest_budget(units, minimum, protected), sum(units)
    found: dict[int, float] = {}
    for budget in sorted(min(budget, most) for budget in budgets):
        found.setdefault(round(budget * total), budget)
    return list(found.values())


@dataclass(frozen=True, eq=False)
class BudgetGrid:
    """Nested models: more budget removes the same groups and some more.

    Attributes:
        heads: head budgets, increasing.
        channels: channel budgets, increasing.
        masks: of each model, by its place.
        head_points: percentage points of encoder parameters that each head budget removes.
        channel_points: the same for each channel budget.
    """

    heads: tuple[float, ...]
    channels: tuple[float, ...]
    masks: Mapping[Place, PruningMasks]
    head_points: tuple[float, ...]
    channel_points: tuple[float, ...]


def budget_grid(
    encoder: nn.Module, scores: GroupValues, heads: Sequence[float], channels: Sequence[float], rules: BudgetRules
) -> BudgetGrid:
    """Masks for every pair of a head and a channel budget, lowest scores first.

    Places follow one another with the head budget changing fastest, so that neighbours often share their early blocks
    (see `sweep_logits`).

    Args:
        encoder: see `encoder_blocks`.
        scores: one number a group; the higher, the longer it stays.
        heads: increasing shares of the encoder's heads to remove.
        channels: increasing shares of its MLP channels to remove.
        rules: how the budgets are shared out.

    Raises:
        ValueError: see `allocate` and `select`; or two budgets of one kind remove the same.
    """
    blocks, size = encoder_blocks(encoder), sum(p.numel() for p in encoder.parameters())
    head_masks = [select(scores.heads, rules.head_quotas(blocks, budget)) for budget in heads]
    channel_masks = [select(scores.channels, rules.channel_quotas(blocks, budget)) for budget in channels]
    for kind, masks, budgets in (("head", head_masks, heads), ("channel", channel_masks, channels)):
        kept = [sum(int(mask.sum()) for mask in model) for model in masks]
        if sorted(set(kept), reverse=True) != kept:
            raise ValueError(
                f"the {kind} budgets {list(budgets)} keep {kept} {kind}s, but each must remove more than the one "
                "before it. Leave out the ones that do not: see `distinct_budgets`."
            )
    masks = {
        (i, j): PruningMasks(head_masks[i], channel_masks[j]) for j in range(len(channels)) for i in range(len(heads))
    }
    intact = PruningMasks.keep_all(encoder)

    def points(model: PruningMasks) -> float:
        return 100 * removed_parameters(encoder, model) / size

    head_points = tuple(points(PruningMasks(mask, intact.channels)) for mask in head_masks)
    channel_points = tuple(points(PruningMasks(intact.heads, mask)) for mask in channel_masks)
    return BudgetGrid(tuple(heads), tuple(channels), masks, head_points, channel_points)


@dataclass(frozen=True)
class GridStep:
    """From one model of the grid to one that lacks more heads, or more channels.

    Attributes:
        start: place before.
        end: place after.
        points: percentage points of encoder parameters removed by the step.
    """

    start: Place
    end: Place
    points: float


def grid_steps(grid: BudgetGrid, kind: str, stride: int | None = None) -> list[GridStep]:
    """All steps along one axis of the grid.

    Args:
        grid: the models.
        kind: "heads" or "channels", whichever the step removes.
        stride: levels a step spans, 1 or more; all of them when None.

    Raises:
        ValueError: an unknown kind, or the grid is too small for the stride.
    """
    if kind not in ("heads", "channels"):
        raise ValueError(f'a step removes "heads" or "channels", not {kind!r}.')
    along, across = (grid.head_points, grid.channels) if kind == "heads" else (grid.channel_points, grid.heads)
    jumps = [(a, b) for a, b in combinations(range(len(along)), 2) if stride in (None, b - a)]
    if not jumps:
        raise ValueError(f"no step of {stride} levels fits between {len(along)} budgets of {kind}. Give more budgets.")
    return [
        GridStep((a, k), (b, k), along[b] - along[a])
        if kind == "heads"
        else GridStep((k, a), (k, b), along[b] - along[a])
        for k in range(len(across))
        for a, b in jumps
    ]


def matched_steps(
    heads: Iterable[GridStep], channels: Iterable[GridStep], tolerance: float = 0.15
) -> list[tuple[GridStep, GridStep]]:
    """Pairs of a head step and a channel step that start at one model and remove nearly as many parameters (ours).

    Args:
        heads: head steps.
        channels: channel steps.
        tolerance: largest ``|log(size ratio)|`` of a pair.
    """
    by_start: dict[Hashable, list[GridStep]] = {}
    for step in channels:
        by_start.setdefault(step.start, []).append(step)
    return [
        (head, channel)
        for head in heads
        for channel in by_start.get(head.start, [])
        if abs(log(head.points / channel.points)) <= tolerance
    ]
