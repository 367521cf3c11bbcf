"""How well predicted displacements agree with measured ones, and how fast an error shrinks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medlib.boundary.displacement import Displacement, displacements
from medlib.boundary.inputs import ArrayLike, logit_array

_CONSTANT = 1e-6
"""Displacements that vary by less than this share of their size are constant: they have no correlation."""


@dataclass(frozen=True)
class DisplacementFit:
    """Agreement of a prediction with a measurement over the points of one contour.

    Attributes:
        correlation: Pearson correlation of measured and predicted pixels; NaN if one of them is constant.
        slope: Least-squares slope of measured against predicted through the origin; 1 is perfect, more means
            that the prediction falls short; NaN if every predicted displacement is 0.
        median_relative_error: Median of ``|measured − predicted| / |measured|``.
        lost_fraction: Share of the points whose contour was lost, in [0, 1]; they count nowhere else.
        n: Number of points compared.
    """

    correlation: float
    slope: float
    median_relative_error: float
    lost_fraction: float
    n: int


def compare_displacements(
    predicted: Displacement, measured: Displacement, largest: float = np.inf, smallest: float = 0.0
) -> DisplacementFit:
    """Correlation, slope, relative error and lost points of a displacement prediction (ours).

    Args:
        predicted: From `predicted_displacement`.
        measured: From `measured_displacement` of the same pair of fields.
        largest: Keep only the points *predicted* to move by at most this many pixels. (Selecting on the
            measured displacement instead would bias the slope.)
        smallest: Keep only the points predicted to move by at least this many pixels.

    Raises:
        ValueError: The two do not share their points, no point is predicted to move that much, or all are
            lost.
    """
    _check_shared_points(predicted, measured)
    sizes = np.abs(predicted.pixels)
    near = (sizes >= smallest) & (sizes <= largest)
    if not near.any():
        raise ValueError(
            f"No point is predicted to move by {smallest:g} to {largest:g} pixels (they move by {sizes.min():.3g} to "
            f"{sizes.max():.3g}): choose other limits, or scale the perturbation."
        )
    kept = near & ~measured.lost
    if not kept.any():
        raise ValueError(
            f"All {np.count_nonzero(near)} points lost their contour, so there is nothing to compare: "
            "raise `max_distance`, or scale the perturbation down."
        )
    x, y = predicted.pixels[kept], measured.pixels[kept]
    return DisplacementFit(
        correlation=_correlation(x, y),
        slope=float(x @ y / (x @ x)) if x.any() else np.nan,
        median_relative_error=_median_relative_error(x, y),
        lost_fraction=float(measured.lost[near].mean()),
        n=len(x),
    )


def fits_by_size(predicted: Displacement, measured: Displacement, edges: Sequence[float]) -> list[DisplacementFit]:
    """The fit of `compare_displacements` for each range of predicted sizes (ours).

    Args:
        predicted: From `predicted_displacement`.
        measured: From `measured_displacement` of the same pair of fields.
        edges: K + 1 increasing limits of ``|d|`` in pixels; the last may be infinite.

    Returns:
        K fits. Where nothing can be compared n is 0 and the agreement is NaN; `lost_fraction` is 1 if every point
        of the range was lost, and NaN if the range holds no point.

    Raises:
        ValueError: The two do not share their points, or the edges do not increase.
    """
    limits = np.asarray(edges, dtype=np.float64)
    if limits.ndim != 1 or len(limits) < 2 or not (np.diff(limits) > 0).all():
        raise ValueError(f"`edges` is {list(edges)}, but ranges need at least two increasing limits in pixels.")
    _check_shared_points(predicted, measured)
    sizes, fits = np.abs(predicted.pixels), []
    for low, high in pairwise(limits):
        lost = measured.lost[(sizes >= low) & (sizes <= high)]
        if lost.size == 0 or lost.all():
            fits.append(DisplacementFit(np.nan, np.nan, np.nan, 1.0 if lost.size else np.nan, 0))
        else:
            fits.append(compare_displacements(predicted, measured, high, low))
    return fits


def pool(contours: Sequence[Displacement]) -> Displacement:
    """The points of several contours as one record, in order.

    Args:
        contours: At least one.

    Raises:
        ValueError: There is none.
    """
    if not contours:
        raise ValueError("There is no contour to pool: pass at least one displacement.")
    joined = {
        name: np.concatenate([getattr(contour, name) for contour in contours])
        for name in ("points", "normals", "slopes", "pixels", "lost")
    }
    return Displacement(**joined, dropped=sum(contour.dropped for contour in contours))


def fitted_order(sizes: Sequence[float] | np.ndarray, errors: Sequence[float] | np.ndarray) -> float:
    """The exponent p of errors ≈ C·sizesᵖ, by least squares on the logarithms.

    Args:
        sizes: At least two different positive numbers, such as the scales of a perturbation.
        errors: As many positive numbers.

    Raises:
        ValueError: Lengths differ, fewer than two different sizes, or numbers that are not positive and
            finite.

    Example:
        >>> round(fitted_order([0.1, 0.2, 0.4], [0.03, 0.12, 0.48]), 6)
        2.0
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or np.unique(x).size < 2:
        raise ValueError(
            f"`sizes` has shape {x.shape} and `errors` {y.shape}, but a slope needs two lists of one length "
            "with at least two different sizes."
        )
    if not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise ValueError(
            "Sizes and errors must all be positive and finite, because the order is the slope of their "
            "logarithms: leave out perturbations of size 0 and errors that are exactly 0."
        )
    return float(np.polyfit(np.log(x), np.log(y), deg=1)[0])


@dataclass(frozen=True, eq=False)
class ErrorOrder:
    """How the error of the first-order prediction shrinks with the disturbance.

    Attributes:
        sizes: (K,) multiples of the change.
        errors: (K,) median of ``|measured − predicted|`` in pixels.
        order: fitted exponent of errors against sizes; the theory says 2.
    """

    sizes: np.ndarray
    errors: np.ndarray
    order: float


def error_order(before: ArrayLike, change: ArrayLike, sizes: Sequence[float] | np.ndarray) -> ErrorOrder:
    """Scale a change of the logits down and fit the order at which the prediction's error vanishes (ours).

    Args:
        before: Logits (H, W) whose contour is followed.
        change: Change (H, W) of the logits at size 1.
        sizes: At least two different positive multiples of the change.

    Raises:
        TypeError: As `measured_displacement`.
        ValueError: As `measured_displacement` and `fitted_order`; or every contour point was lost at some size.
    """
    multiples, errors = np.asarray(sizes, dtype=np.float64), []
    start = logit_array(before, "before", dimensions=2).astype(np.float64)
    step = logit_array(change, "change", dimensions=2).astype(np.float64)
    for size in multiples:
        predicted, measured = displacements(start, start + size * step)
        if measured.lost.all():
            raise ValueError(f"At size {size:g} every contour point was lost: start from smaller sizes.")
        errors.append(np.nanmedian(np.abs(measured.pixels - predicted.pixels)))
    return ErrorOrder(multiples, np.array(errors), fitted_order(multiples, errors))


def _check_shared_points(predicted: Displacement, measured: Displacement) -> None:
    if not np.array_equal(predicted.points, measured.points):
        raise ValueError(
            f"The prediction has {len(predicted.points)} points and the measurement {len(measured.points)}, "
            "and they are not the same ones: compute both from the same `before`."
        )


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if any(np.ptp(pixels) <= _CONSTANT * np.abs(pixels).max() for pixels in (x, y)):
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def _median_relative_error(x: np.ndarray, y: np.ndarray) -> float:
    error = np.abs(y - x)
    relative = np.divide(error, np.abs(y), out=np.where(error > 0, np.inf, 0.0), where=y != 0)
    return float(np.median(relative))
