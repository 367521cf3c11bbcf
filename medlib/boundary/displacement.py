"""How far a contour moves when the logits change: predicted to first order, and measured.

Sign, everywhere: **positive pixels mean that the contour retreats** (moves along ``n = ∇z/|∇z|``, into the
mask, which shrinks); negative pixels mean that it advances and the mask grows.
"""

from dataclasses import dataclass

import numpy as np

from medlib.boundary.contour import SplineField, ZeroContour, zero_contour
from medlib.boundary.inputs import ArrayLike, logit_pair

_SAMPLING = 0.25
_ROOT_STEPS = 30
_SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class Displacement:
    """Signed displacement of a contour at K sub-pixel points.

    Attributes:
        points: (K, 2) row and column of the zero contour of `before`.
        normals: (K, 2) unit normals ``∇z/|∇z|``, pointing into the mask.
        slopes: (K,) ``|∇z|`` of `before` at the points, in logits per pixel.
        pixels: (K,) displacement along the normal; positive = the contour **retreats** into the mask; NaN if
            lost.
        lost: (K,) bool: no contour of `after` was found on this point's normal. Always False for a
            prediction.
        dropped: Contour points left out altogether, because they lie within 2 pixels of the image's edge or
            on flat ground, where no normal is defined.
    """

    points: np.ndarray
    normals: np.ndarray
    slopes: np.ndarray
    pixels: np.ndarray
    lost: np.ndarray
    dropped: int


def predicted_displacement(before: ArrayLike, after: ArrayLike) -> Displacement:
    """First-order displacement ``−Δz/|∇z|`` of the zero contour of `before` along its normal (MedCore).

    With ``n = ∇z/|∇z|`` pointing into the mask, ``z(p + d·n) + Δz(p) ≈ d·|∇z| + Δz = 0`` gives
    ``d = −Δz/|∇z|``. So **positive pixels mean that the contour retreats**: lowering the logits (Δz < 0)
    shrinks the mask. Points, slope and Δz are taken from the bicubic splines through the two fields.

    Args:
        before: Logits (H, W) whose contour is followed, at least 8 pixels a side, finite.
        after: Logits (H, W) after the intervention.

    Returns:
        The prediction at every usable contour point; see `Displacement` for what is dropped.

    Raises:
        TypeError: The inputs are not floating-point arrays or tensors.
        ValueError: Shapes differ or are not (H, W), values are not finite, or `before` has no usable contour.
    """
    old, new, contour = _splines(before, after)
    return _displacement(contour, _first_order(old, new, contour))


def measured_displacement(before: ArrayLike, after: ArrayLike, max_distance: float = 10.0) -> Displacement:
    """Distance along each normal of `before`'s contour to the contour of `after`.

    From each point p of the zero contour of `before`, the spline of `after` is followed along p + d·n for
    ``|d|`` ≤ `max_distance`; the displacement is the zero nearest to p at which the logits still *rise* along
    n. **Positive pixels mean that the contour retreats** into the mask. Points without such a zero are
    `lost`. Lines are sampled every quarter of a pixel, so two crossings closer than that are not told apart.

    Args:
        before: Logits (H, W) whose contour is followed, at least 8 pixels a side, finite.
        after: Logits (H, W) after the intervention.
        max_distance: How far to look on either side, in pixels, > 0.

    Returns:
        The measurement at the same points, in the same order, as `predicted_displacement`.

    Raises:
        TypeError: The inputs are not floating-point arrays or tensors.
        ValueError: As `predicted_displacement`, or `max_distance` is not positive and finite.
    """
    _check_max_distance(max_distance)
    _, new, contour = _splines(before, after)
    return _displacement(contour, _nearest_rise(new, contour, max_distance))


def displacements(before: ArrayLike, after: ArrayLike, max_distance: float = 10.0) -> tuple[Displacement, Displacement]:
    """Predicted and measured displacement of one contour, following it once for both.

    Args:
        before: As `measured_displacement`.
        after: As `measured_displacement`.
        max_distance: As `measured_displacement`.

    Returns:
        What `predicted_displacement` and `measured_displacement` return.

    Raises:
        TypeError: As `measured_displacement`.
        ValueError: As `measured_displacement`.
    """
    _check_max_distance(max_distance)
    old, new, contour = _splines(before, after)
    measured = _nearest_rise(new, contour, max_distance)
    return _displacement(contour, _first_order(old, new, contour)), _displacement(contour, measured)


def contour_change(before: ArrayLike, after: ArrayLike) -> float:
    """Mean ``|Δz|`` along the zero contour of `before`, in logits: what a displacement is made of (ours).

    Args:
        before: As `predicted_displacement`.
        after: As `predicted_displacement`.

    Raises:
        TypeError: As `predicted_displacement`.
        ValueError: As `predicted_displacement`.
    """
    predicted = predicted_displacement(before, after)
    return float(np.abs(predicted.pixels * predicted.slopes).mean())


def _check_max_distance(max_distance: float) -> None:
    if not 0 < max_distance < np.inf:
        raise ValueError(
            f"`max_distance` is {max_distance}, but it says how many pixels to look on either side of the "
            "contour: pass a positive number such as 10."
        )


def _splines(before: ArrayLike, after: ArrayLike) -> tuple[SplineField, SplineField, ZeroContour]:
    """The splines through both fields, and the zero contour of the first."""
    first, second = logit_pair(before, after, dimensions=2)
    if min(first.shape) < _SMALLEST_SIDE:
        raise ValueError(
            f"`before` is {first.shape}, too small to follow a contour away from the edge: "
            f"at least {_SMALLEST_SIDE} pixels a side are needed."
        )
    old, new = SplineField(first.astype(np.float64)), SplineField(second.astype(np.float64))
    return old, new, zero_contour(old, first.astype(np.float64))


def _first_order(old: SplineField, new: SplineField, contour: ZeroContour) -> np.ndarray:
    return -(new.value(contour.points) - old.value(contour.points)) / contour.slopes


def _displacement(contour: ZeroContour, pixels: np.ndarray) -> Displacement:
    return Displacement(
        points=contour.points,
        normals=contour.normals,
        slopes=contour.slopes,
        pixels=pixels,
        lost=np.isnan(pixels),
        dropped=contour.dropped,
    )


def _nearest_rise(field: SplineField, contour: ZeroContour, max_distance: float) -> np.ndarray:
    """Position on each normal of the nearest zero at which `field` rises; NaN where there is none."""
    half = int(np.ceil(max_distance / _SAMPLING))
    distances = np.linspace(-max_distance, max_distance, 2 * half + 1)
    values = field.value(_on_normals(contour.points, contour.normals, distances))
    low, high = values[:, :-1], values[:, 1:]
    rises = (low < 0) & (high >= 0)
    share = np.divide(-low, high - low, out=np.zeros_like(low), where=rises)
    estimates = np.where(rises, distances[:-1] + share * np.diff(distances), np.inf)
    nearest = np.abs(estimates).argmin(axis=1)
    found = rises.any(axis=1)
    pixels = np.full(len(contour.points), np.nan)
    pixels[found] = _root(
        field,
        contour.points[found],
        contour.normals[found],
        distances[nearest[found]],
        distances[nearest[found] + 1],
    )
    return pixels


def _on_normals(points: np.ndarray, normals: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Positions (K, D, 2) on the normals (K, 2) through `points` (K, 2) at `distances` (D,) or (K, D)."""
    return points[:, None, :] + np.atleast_2d(distances)[..., None] * normals[:, None, :]


def _root(field: SplineField, points: np.ndarray, normals: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The zero between `low` (negative) and `high` (not negative), by Newton steps kept in the bracket."""
    middle = (low + high) / 2
    for _ in range(_ROOT_STEPS):
        positions = points + middle[:, None] * normals
        value = field.value(positions)
        slope = (field.gradient(positions) * normals).sum(axis=-1)
        low, high = np.where(value < 0, middle, low), np.where(value < 0, high, middle)
        newton = middle - np.divide(value, slope, out=np.full_like(value, np.inf), where=slope > 0)
        following = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        moved = np.abs(following - middle).max(initial=0)
        middle = following
        if moved < 1e-12:
            break
    return middle
