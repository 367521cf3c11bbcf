"""How many groups each block gives up for one budget, and which ones."""

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor

from medlib.pruning.groups import Block

Rule = Literal["waterfill", "authors", "uniform"]


def allocate(
    sensitivity: Sequence[float],
    budget: float,
    units: Sequence[int],
    minimum: int | Sequence[int],
    protected: Sequence[int] = (),
    rule: Rule = "waterfill",
) -> list[int]:
    """Share out the removal of round(budget · Σ units) heads or channels over the blocks.

    No block loses more than its cap, units − minimum, and a protected block loses none. Quotas are in proportion to
    1/sensitivity, where caps allow::

        waterfill:  the blocks that reach their caps stay there, and what they refuse is shared among the others in
                    the same proportion, until all fits; fractions go to the largest remainders    (ours)
        authors:    the shares are rounded and capped once; what is left then fills up the blocks with the most
                    headroom, which are the most sensitive ones    (MedCore)
        uniform:    waterfill in proportion to the units instead    (ours)

    Args:
        sensitivity: positive, one number a block, such as `block_sensitivity`; "uniform" does not look at it.
        budget: share of the units of *all* blocks to remove, protected ones included, in [0, 1).
        units: heads or channels of each block.
        minimum: heads or channels that stay in each block, at least 1; one number, or one a block.
        protected: positions of the blocks that lose nothing.
        rule: "waterfill", "authors" or "uniform".

    Returns:
        Heads or channels to remove from each block.

    Raises:
        ValueError: an argument is out of range, or the caps allow less than the budget. "authors" then removes all
            that the caps allow and warns, as the published extreme setting needs it.

    >>> allocate([1.0, 2.0, 4.0], budget=0.75, units=[8, 8, 8], minimum=1)
    [7, 7, 4]
    >>> allocate([1.0, 2.0, 4.0], budget=0.75, units=[8, 8, 8], minimum=1, rule="authors")
    [7, 5, 6]
    """
    sensitivity = [float(value) for value in sensitivity]
    _check_request(sensitivity, budget, units, rule)
    caps = _caps(units, minimum, protected)
    total = round(budget * sum(units))
    if total > sum(caps):
        found = (
            f"budget {budget} asks for {total} of {sum(units)} units, but the caps allow {sum(caps)}: a budget of "
            f"{largest_budget(units, minimum, protected):.6f} at most."
        )
        if rule != "authors":
            raise ValueError(f"{found} Ask for less, protect fewer blocks, or lower the minimum.")
        warnings.warn(f"{found} That is what the authors' rule removes.", UserWarning, stacklevel=2)
        total = sum(caps)
    if rule == "uniform":
        return _waterfilled(total, list(units), caps)
    lowest = min(sensitivity)
    share_out = _rounded_once if rule == "authors" else _waterfilled
    return share_out(total, [lowest / value for value in sensitivity], caps)


def largest_budget(units: Sequence[int], minimum: int | Sequence[int], protected: Sequence[int] = ()) -> float:
    """The largest budget that `allocate` can meet: Σ caps / Σ units.

    Args:
        units: heads or channels of each block.
        minimum: that stay in each block, at least 1; one number, or one a block.
        protected: positions of the blocks that lose nothing.

    Raises:
        ValueError: a minimum is below 1 or above the units, or a protected position does not exist.

    >>> largest_budget([12] * 12, minimum=1, protected=[10, 11]) == 110 / 144
    True
    """
    return sum(_caps(units, minimum, protected)) / sum(units)


def channel_floors(blocks: Sequence[Block], share: float = 0.05) -> list[int]:
    """MLP channels that stay in each block: a share of them, rounded, and at least one (MedCore).

    Args:
        blocks: see `encoder_blocks`.
        share: in [0, 1].
    """
    return [max(1, round(share * block.channels)) for block in blocks]


def _waterfilled(total: int, weights: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Whole quotas with this total, in proportion to the weights up to the caps."""
    quotas, left = [0.0] * len(caps), float(total)
    below = [b for b, cap in enumerate(caps) if cap]
    while below:
        level = left / sum(weights[b] for b in below)
        full = [b for b in below if level * weights[b] >= caps[b]]
        for b in full or below:
            quotas[b] = float(caps[b]) if full else level * weights[b]
            left -= quotas[b]
        below = [b for b in below if b not in full] if full else []
    whole = [math.floor(quota) for quota in quotas]
    remainders = sorted((b for b in range(len(caps)) if whole[b] < caps[b]), key=lambda b: whole[b] - quotas[b])
    for b in remainders[: total - sum(whole)]:
        whole[b] += 1
    return whole


def _rounded_once(total: int, weights: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Quotas rounded and capped once; then the blocks with the most headroom are filled up, one after another."""
    sharing = sum(weight for weight, cap in zip(weights, caps) if cap)
    quotas = [min(round(total * weight / sharing), cap) if cap else 0 for weight, cap in zip(weights, caps)]
    while sum(quotas) > total:  # rounding alone can overshoot by a few
        quotas[quotas.index(max(quotas))] -= 1
    for b in sorted(range(len(caps)), key=lambda b: quotas[b] - caps[b]):
        quotas[b] += min(caps[b] - quotas[b], total - sum(quotas))
    return quotas


def _caps(units: Sequence[int], minimum: int | Sequence[int], protected: Sequence[int]) -> list[int]:
    least = [minimum] * len(units) if isinstance(minimum, Integral) else list(minimum)
    if len(units) == 0 or len(least) != len(units):
        raise ValueError(f"{len(least)} minimums for {len(units)} blocks. Give one number, or one a block.")
    for b, (count, stay) in enumerate(zip(units, least)):
        if not 1 <= stay <= count:
            raise ValueError(
                f"the minimum of block {b} is {stay}, but it has {count} units and one must stay. Give 1 to {count}."
            )
    if not all(b in range(len(units)) for b in protected):
        raise ValueError(f"protected is {list(protected)}, but the blocks are 0 to {len(units) - 1}. Name those.")
    return [0 if b in protected else int(count - stay) for b, (count, stay) in enumerate(zip(units, least))]


def _check_request(sensitivity: Sequence[float], budget: float, units: Sequence[int], rule: str) -> None:
    if rule not in get_args(Rule):
        raise ValueError(f"the rule {rule!r} is unknown. Choose one of {', '.join(get_args(Rule))}.")
    if not 0 <= budget < 1:
        raise ValueError(f"budget is {budget}, but is the share of all units to remove. Give a number in [0, 1).")
    if len(sensitivity) != len(units):
        raise ValueError(f"{len(sensitivity)} sensitivities for {len(units)} blocks. Give one number a block.")
    for b, value in enumerate(sensitivity):
        if not 0 < value < math.inf:
            raise ValueError(
                f"the sensitivity of block {b} is {value}, but quotas are in proportion to its inverse. "
                "Give positive, finite numbers."
            )


def select(scores: Sequence[Tensor], quota: Sequence[int]) -> tuple[Tensor, ...]:
    """Masks that remove the lowest scores of each block, the first of equal ones.

    Args:
        scores: one tensor (groups,) a block, such as `GroupValues.heads`.
        quota: groups to remove from each block; see `allocate`.

    Returns:
        One float32 tensor (groups,) a block on the CPU: 1 keeps, 0 removes. Two of them make `PruningMasks`.

    Raises:
        ValueError: lengths differ, a score is not finite, or a quota is negative or empties its block.

    >>> select([torch.tensor([3.0, 1.0, 2.0])], [2])
    (tensor([1., 0., 0.]),)
    """
    if len(scores) != len(quota):
        raise ValueError(f"{len(quota)} quotas for the scores of {len(scores)} blocks. Give one quota a block.")
    return tuple(_lowest_removed(b, values, count) for b, (values, count) in enumerate(zip(scores, quota)))


def _lowest_removed(block: int, values: Tensor, count: int) -> Tensor:
    if not 0 <= count < len(values):
        raise ValueError(
            f"the quota of block {block} is {count} of {len(values)} groups, but at least one must stay. "
            f"Give 0 to {len(values) - 1}."
        )
    if not bool(values.isfinite().all()):
        raise ValueError(
            f"the scores of block {block} hold NaN or infinite values, which have no order. Recompute them."
        )
    mask = torch.ones(len(values))
    mask[values.argsort(stable=True)[:count].cpu()] = 0
    return mask
