"""Are heads or MLP channels more fragile at the boundary? Steps of both kinds compared, with intervals."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.stats import bootstrap

from medlib.boundary.leverage import LeverageStep

Steps: TypeAlias = Sequence[LeverageStep] | Mapping[Hashable, LeverageStep]
Interval: TypeAlias = tuple[float, float] | None

_RESAMPLES = 9999


@dataclass(frozen=True)
class LeverageSummary:
    """Head steps against MLP steps. Intervals are None when the two share fewer than two starting points.

    Attributes:
        blr95: Median head p95 / median MLP p95, the boundary leverage ratio.
        rlr: The same ratio of `region`, the whole-image ratio.
        bsr: blr95 / rlr: above 1, heads matter more at the boundary than elsewhere.
        win_rate95: Share of the common starting points at which the head step has the larger p95, in [0, 1].
        median_difference: Median of head p95 − MLP p95 over the common starting points, pixels per point.
        blr95_interval: Bootstrap percentile interval of `blr95` over the common starting points; likewise
            below.
        rlr_interval: Of `rlr`.
        bsr_interval: Of `bsr`.
        win_rate95_interval: Of `win_rate95`.
        median_difference_interval: Of `median_difference`.
        pairs: Number of common starting points.
    """

    blr95: float
    rlr: float
    bsr: float
    win_rate95: float
    median_difference: float
    blr95_interval: Interval
    rlr_interval: Interval
    bsr_interval: Interval
    win_rate95_interval: Interval
    median_difference_interval: Interval
    pairs: int


def compare_steps(
    head_steps: Steps,
    mlp_steps: Steps,
    generator: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> LeverageSummary:
    """Boundary leverage ratio of head steps to MLP steps, and companions (MedCore; intervals are ours).

    With λ95 the `p95` of a step::

        BLR95 = median λ95(head) / median λ95(MLP),  RLR = the same of `region`,  BSR = BLR95 / RLR

    The medians run over all steps of a kind; win rate and difference over the starting points that both kinds
    share. Intervals resample the common starting points as pairs, so when some steps have no partner they
    describe the paired steps only.

    Args:
        head_steps: Steps that remove heads: a sequence, or a mapping from starting point to step.
        mlp_steps: Steps that remove MLP channels: a sequence of the same length paired by position, or a
            mapping.
        generator: Source of the resampling; `numpy.random.default_rng(0)` when left out, so that a summary
            repeats.
        confidence: Level of the intervals, in (0, 1).

    Raises:
        TypeError: One is a mapping and the other is not.
        ValueError: No steps, sequences of different lengths, mappings without a common starting point, values
            that are not positive and finite, or a `confidence` outside of (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` is {confidence}, but it is a share in (0, 1): pass 0.95 for 95 %.")
    heads, mlps = _keyed(head_steps, mlp_steps)
    common = [start for start in heads if start in mlps]
    if not common:
        raise ValueError(
            f"The {len(heads)} head steps and {len(mlps)} MLP steps share no starting point, so they cannot "
            "be paired: key both mappings by the state of the model before the step."
        )
    blr95, rlr, bsr = _ratios(*_columns(heads, heads), *_columns(mlps, mlps))
    paired = (*_columns(heads, common), *_columns(mlps, common))
    win_rate95, median_difference = _statistics(*paired)[3:]
    intervals = _intervals(paired, generator or np.random.default_rng(0), confidence)
    estimates = (float(value) for value in (blr95, rlr, bsr, win_rate95, median_difference))
    return LeverageSummary(*estimates, *intervals, pairs=len(common))


def _keyed(
    head_steps: Steps, mlp_steps: Steps
) -> tuple[Mapping[Hashable, LeverageStep], Mapping[Hashable, LeverageStep]]:
    """Both kinds of steps by starting point (its position, when they came as sequences), checked."""
    if isinstance(head_steps, Mapping) != isinstance(mlp_steps, Mapping):
        raise TypeError(
            f"The head steps are a {type(head_steps).__name__} and the MLP steps a "
            f"{type(mlp_steps).__name__}, so they cannot be paired: pass two sequences, or two mappings "
            "keyed by starting point."
        )
    if not head_steps or not mlp_steps:
        raise ValueError(
            f"There are {len(head_steps)} head steps and {len(mlp_steps)} MLP steps, but at least one of "
            "each is needed: call `leverage_step` for both kinds."
        )
    if not isinstance(head_steps, Mapping):
        if len(head_steps) != len(mlp_steps):
            raise ValueError(
                f"There are {len(head_steps)} head steps and {len(mlp_steps)} MLP steps, but sequences are "
                "paired by position: pass equally many, or mappings keyed by starting point."
            )
        head_steps, mlp_steps = dict(enumerate(head_steps)), dict(enumerate(mlp_steps))
    _check_values("head", head_steps)
    _check_values("MLP", mlp_steps)
    return head_steps, mlp_steps


def _check_values(kind: str, steps: Mapping[Hashable, LeverageStep]) -> None:
    values = np.concatenate(_columns(steps, steps))
    if not np.isfinite(values).all() or values.min() <= 0:
        raise ValueError(
            f"The {kind} steps hold leverages from {values.min():.3g} to {values.max():.3g}, but each must "
            "be positive and finite: a step of leverage 0 did not change the logits, so check that its masks "
            "were applied."
        )


def _columns(steps: Mapping[Hashable, LeverageStep], starts: Iterable[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """(p95, region) of the steps from these starting points, in their order."""
    chosen = [steps[start] for start in starts]
    return np.array([step.p95 for step in chosen]), np.array([step.region for step in chosen])


def _ratios(
    head_p95: np.ndarray, head_region: np.ndarray, mlp_p95: np.ndarray, mlp_region: np.ndarray, axis: int = -1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BLR95, RLR and BSR along `axis`."""
    boundary = np.median(head_p95, axis) / np.median(mlp_p95, axis)
    region = np.median(head_region, axis) / np.median(mlp_region, axis)
    return boundary, region, boundary / region


def _statistics(
    head_p95: np.ndarray, head_region: np.ndarray, mlp_p95: np.ndarray, mlp_region: np.ndarray, axis: int = -1
) -> np.ndarray:
    """(5, …): BLR95, RLR, BSR, win rate and median difference of paired steps along `axis`."""
    ratios = _ratios(head_p95, head_region, mlp_p95, mlp_region, axis)
    wins = (head_p95 > mlp_p95).mean(axis)
    return np.stack((*ratios, wins, np.median(head_p95 - mlp_p95, axis)))


def _intervals(
    paired: tuple[np.ndarray, ...], generator: np.random.Generator, confidence: float
) -> tuple[Interval, ...]:
    """Bootstrap percentile intervals of the five statistics; five times None for fewer than two pairs."""
    if len(paired[0]) < 2:
        return (None,) * 5
    limits = bootstrap(
        paired,
        _statistics,
        n_resamples=_RESAMPLES,
        vectorized=True,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        rng=generator,
    ).confidence_interval
    return tuple((float(low), float(high)) for low, high in zip(limits.low, limits.high, strict=True))
