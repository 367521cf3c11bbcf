"""How much of what a linear map writes is lost as its input groups go, the cheapest first."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """The groups of one linear map in the order in which they are best removed.

    Attributes:
        order: (groups − kept,) the groups, the first to go first.
        error: (groups − kept,) what is lost when the groups up to this one are gone and the kept weights are re-solved,
            as a share of the variance of what the map writes (both with the ridge); never decreasing, at most 1. Groups
            that go in one round share its price in proportion to their own.
        groups: how many the map has, those that stay included.
    """

    order: Tensor
    error: Tensor
    groups: int


def removal_curve(
    weight: Tensor, covariance: Tensor, group_size: int, keep: int, ridge: float = 1e-3, rounds: int = 64
) -> RemovalCurve:
    """Remove input groups greedily, re-solving the kept weights after every removal: structured optimal brain surgeon.

    With Σ the covariance of the inputs, removing the inputs S and re-solving the others by least squares costs

        e(S) = tr[ W_S ((Σ⁻¹)_SS)⁻¹ W_Sᵀ ]

    (Hassibi and Stork 1993; in groups: ZipLM, Kurtić et al. 2023). The groups of smallest cost go, then
    W ← W − W_S ((Σ⁻¹)_SS)⁻¹ (Σ⁻¹)_S and Σ⁻¹ loses the block S by the same elimination.

    Args:
        weight: (c, d) the linear map.
        covariance: (d, d) of its inputs, float64.
        group_size: inputs a group owns; groups are contiguous.
        keep: groups that stay in any case, at least 1.
        ridge: added to the diagonal, as a share of its mean.
        rounds: single inputs go in about this many rounds, several at a time; larger groups go one by one.
    """
    groups = covariance.shape[0] // group_size
    covariance = regularised(covariance, ridge)
    inverse = torch.linalg.inv(covariance)
    weight, alive = weight.detach().double().cpu(), torch.arange(groups)
    tiny = torch.finfo(torch.float64).tiny
    written = ((weight @ covariance) * weight).sum().clamp_min(tiny)
    at_once = max(1, groups // rounds) if group_size == 1 else 1
    lost = torch.zeros((), dtype=torch.float64)
    order, error = [alive[:0]], [lost[None][:0]]
    while len(alive) > keep:
        costs = _costs(weight, inverse, group_size)
        low = torch.argsort(costs, stable=True)[: min(at_once, len(alive) - keep)]
        gone = (low[:, None] * group_size + torch.arange(group_size)).flatten()
        stays = torch.ones(len(weight.T), dtype=torch.bool).index_fill_(0, gone, False)
        solved = torch.linalg.solve(inverse[gone][:, gone], torch.cat([weight[:, gone].T, inverse[gone]], dim=1))
        update, elimination = solved[:, : len(weight)], solved[:, len(weight) :][:, stays]
        cost = (update.T * weight[:, gone]).sum()
        order.append(alive[low])
        error.append(lost + cost * costs[low].cumsum(0) / costs[low].sum().clamp_min(tiny))
        lost = lost + cost
        weight = weight[:, stays] - update.T @ inverse[gone][:, stays]
        inverse = inverse[stays][:, stays] - inverse[stays][:, gone] @ elimination
        alive = alive[torch.ones(len(alive), dtype=torch.bool).index_fill_(0, low, False)]
    return RemovalCurve(torch.cat(order), torch.cat(error) / written, groups)


def regularised(covariance: Tensor, ridge: float) -> Tensor:
    """Σ + r I, with r the share `ridge` of the mean of Σ's diagonal, which counts as at least a float32 rounding."""
    variance = covariance.diagonal().mean().clamp_min(torch.finfo(torch.float32).eps)  # inputs that never vary
    return covariance + ridge * variance * torch.eye(len(covariance), dtype=covariance.dtype)


def _costs(weight: Tensor, inverse: Tensor, size: int) -> Tensor:
    """tr[ W_g ((Σ⁻¹)_gg)⁻¹ W_gᵀ ] of every group g."""
    if size == 1:
        return weight.pow(2).sum(0) / inverse.diagonal()
    starts = torch.arange(0, len(inverse), size)
    index = starts[:, None] + torch.arange(size)
    blocks = inverse[index[:, :, None], index[:, None, :]]
    columns = weight[:, index].permute(1, 2, 0)
    return (torch.linalg.solve(blocks, columns) * columns).sum((1, 2))
