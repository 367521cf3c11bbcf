"""Are heads more fragile than MLP channels? Leverage of both kinds of steps, image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from medlib.boundary import LeverageSummary, leverage_step, spatial_gradient
from medlib.boundary.bands import BandRule
from medlib.pruning.budget_grid import GridStep, Place

_RESAMPLES = 4000


@dataclass(frozen=True, eq=False)
class StepLeverage:
    """Leverage of one step on each image.

    Attributes:
        step: from which model to which.
        p95: (images,) λ95, pixels per percentage point removed.
        region: (images,) mean ``|Δz|`` of the whole image, logits per percentage point removed.
    """

    step: GridStep
    p95: np.ndarray
    region: np.ndarray


def measure_steps(
    steps: Sequence[GridStep],
    logits: Mapping[Place, Sequence[np.ndarray]],
    masks: Sequence[np.ndarray],
    tau: float,
    band: BandRule = "both_sides",
) -> list[StepLeverage]:
    """Boundary leverage of steps, one image at a time: no image depends on its companions (ours).

    Args:
        steps: see `grid_steps`.
        logits: N arrays (H, W) for each model of the grid.
        masks: the N true masks, bool (H, W).
        tau: half-width of the band in pixels.
        band: see `boundary_band`.

    Raises:
        ValueError: see `leverage_step`.
    """
    found = []
    for step in steps:
        pictures = zip(logits[step.start], logits[step.end], masks, strict=True)
        single = [
            leverage_step(before[None], after[None], mask[None], tau, step.points, band=band)
            for before, after, mask in pictures
        ]
        found.append(StepLeverage(step, np.array([s.p95 for s in single]), np.array([s.region for s in single])))
    return found


def compare_on_images(
    heads: Sequence[StepLeverage],
    channels: Sequence[StepLeverage],
    generator: np.random.Generator,
    one_to_one: bool = False,
) -> LeverageSummary:
    """`compare_steps` with intervals over images (ours): steps on one grid share their images and are not independent.

    The leverage of a step is its median over the images; the rest is MedCore's: medians over the steps of each kind,
    their ratio, and the share of head steps that beat the channel step from the same start. Each resample draws whole
    images.

    Args:
        heads: head steps, all measured on the same images.
        channels: channel steps on those images.
        generator: draws the resamples.
        one_to_one: the first head step is set against the first channel step, and so on, as in `matched_steps`; by
            default all those that begin at one start are set against one another.

    Raises:
        ValueError: no step of a kind, or no start that both kinds share.
    """
    pairs = [
        (i, j)
        for i, head in enumerate(heads)
        for j, channel in enumerate(channels)
        if head.step.start == channel.step.start and (i == j or not one_to_one)
    ]
    if not pairs:
        raise ValueError(
            f"{len(heads)} head steps and {len(channels)} channel steps share no start, so they cannot be paired. "
            "Take both from one grid."
        )
    images = len(heads[0].p95)
    drawn = _drawn_statistics(heads, channels, np.array(pairs), _draws(images, generator))
    limits = np.percentile(drawn[:, 1:], [2.5, 97.5], axis=1).T
    intervals = [tuple(map(float, limit)) if images > 1 else None for limit in limits]
    return LeverageSummary(*map(float, drawn[:, 0]), *intervals, pairs=len(pairs))


def _drawn_statistics(
    heads: Sequence[StepLeverage], channels: Sequence[StepLeverage], pairs: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """(5, draws): BLR95, RLR, BSR, win rate and median difference on each draw of images."""

    def over_images(steps: Sequence[StepLeverage], name: str) -> np.ndarray:
        return np.median(np.stack([getattr(step, name) for step in steps])[:, draws], axis=-1)

    head, channel = over_images(heads, "p95"), over_images(channels, "p95")
    boundary = np.median(head, axis=0) / np.median(channel, axis=0)
    region = np.median(over_images(heads, "region"), axis=0) / np.median(over_images(channels, "region"), axis=0)
    difference = head[pairs[:, 0]] - channel[pairs[:, 1]]
    return np.stack([boundary, region, boundary / region, (difference > 0).mean(axis=0), np.median(difference, axis=0)])


def leverage_against_loss(
    steps: Sequence[StepLeverage], lost: np.ndarray, generator: np.random.Generator
) -> tuple[float, tuple[float, float] | None]:
    """Rank correlation over steps of P95 leverage and lost score, with the size of the step held fixed (ours).

    A step's leverage is λ95 times its size, its median over the images; its loss is the mean over the images.

    Args:
        steps: at least four, measured on the same images.
        lost: (steps, images) score before minus score after.
        generator: draws whole images for the interval.

    Returns:
        The correlation, and its 95 % interval over images; None for one image.
    """
    sizes = np.array([step.step.points for step in steps])
    reach = np.stack([step.p95 for step in steps]) * sizes[:, None]
    draws = _draws(reach.shape[1], generator)
    found = partial_rank_correlation(np.median(reach[:, draws], -1).T, lost[:, draws].mean(-1).T, sizes)
    if reach.shape[1] == 1:
        return float(found[0]), None
    low, high = np.nanpercentile(found[1:], [2.5, 97.5])
    return float(found[0]), (float(low), float(high))


def _draws(images: int, generator: np.random.Generator) -> np.ndarray:
    """(1 + resamples, images): all images first, then images drawn with replacement."""
    return np.concatenate([np.arange(images)[None], generator.integers(images, size=(_RESAMPLES, images))])


def partial_rank_correlation(x: np.ndarray, y: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Spearman's correlation of x and y with a third quantity held fixed, along the last axis.

    Ranks take the place of values, and what is linear in the ranks of `held` is taken out of both.

    Args:
        x, y, held: (…, n) with n ≥ 4; the leading axes broadcast.

    Returns:
        In [−1, 1]; NaN where nothing is left of x or y.

    >>> size = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> luck = np.array([0.2, -0.1, 0.3, -0.2, 0.1])
    >>> round(float(partial_rank_correlation(size + 9 * luck, size + 8 * luck, size)), 2)
    1.0
    """
    x, y, held = (_standard_ranks(values) for values in (x, y, held))
    xy, xh, yh = ((a * b).sum(-1) for a, b in ((x, y), (x, held), (y, held)))
    left = (1 - xh**2) * (1 - yh**2)
    defined = left > 1e-12
    return np.where(defined, np.clip((xy - xh * yh) / np.sqrt(np.where(defined, left, 1)), -1, 1), np.nan)


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, with mean 0 and norm 1; all 0 where the values are equal."""
    centred = rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(norm > 0, norm, 1)


def growth_exponents(steps: Sequence[StepLeverage]) -> np.ndarray:
    """The exponent p of P95 ∝ sizeᵖ on each image: 1 if twice the step moves the boundary twice as far (ours).

    P95 = λ95 · size is not divided by the size of the step. Fitted on logarithms by least squares, with a factor of its
    own for each start, so that only steps from one and the same model are compared.

    Args:
        steps: of one kind, with positive leverage; some start has steps of different sizes.

    Returns:
        (images,) exponents.
    """
    starts, place = np.unique([step.step.start for step in steps], axis=0, return_inverse=True)
    within = np.eye(len(starts))[place.ravel()]
    sizes = np.log([step.step.points for step in steps])
    reach = sizes[:, None] + np.log(np.stack([step.p95 for step in steps]))
    sizes -= within @ (within.T @ sizes / within.sum(0))
    return sizes @ reach / (sizes @ sizes)


def companion_change(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> np.ndarray:
    """How much an image's λ95 depends on the other images in the authors' script, where the floor is a stack's (ours).

    The floor under ``|∇z|`` is the 5th percentile of the positive slopes of all images together. Each image is
    measured once with one half of the others and once with the other half, in the script's band, the whole image.

    Args:
        before: N ≥ 2 logits (H, W) before a step; sizes may differ.
        after: N logits after it.

    Returns:
        (N,) larger λ95 over the smaller, minus 1.

    Raises:
        ValueError: fewer than two images.
    """
    if len(before) < 2:
        raise ValueError("one image has no companions to exchange. Pass at least 2.")
    slopes = [spatial_gradient(np.asarray(z, dtype=np.float64), "zeros") for z in before]
    changes = [np.abs(b.astype(np.float64) - a) for a, b in zip(before, after, strict=True)]
    found = []
    for k, (slope, change) in enumerate(zip(slopes, changes, strict=True)):
        others = slopes[:k] + slopes[k + 1 :]
        halves = (others[: len(others) // 2], others[len(others) // 2 :])
        floors = [_stack_floor([slope, *half]) for half in halves]
        p95 = [np.percentile(change / np.maximum(slope, floor), 95) for floor in floors]
        found.append(max(p95) / min(p95) - 1)
    return np.array(found)


def _stack_floor(slopes: Sequence[np.ndarray]) -> float:
    pooled = np.concatenate([slope[slope > 0] for slope in slopes])
    return max(float(np.percentile(pooled, 5)), 1e-6)
