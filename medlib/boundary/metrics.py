"""Dice, IoU, boundary F1 and HD95 of two masks, as MedCore's code defines them.

Everything is computed on the bounding region of the two masks, so the cost follows the lesion, not the image.
The values are those of the definitions on the full image, to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from medlib.boundary.bands import check_radius
from medlib.boundary.inputs import ArrayLike, mask_pair
from medlib.boundary.morphology import bounding_box, dilate_square, erode_square

_CROWDED = 0.1
"""Share of surface pixels in the region above which a distance map beats a search tree (measured)."""


@dataclass(frozen=True)
class SegmentationScores:
    """The four scores of one predicted mask against its target.

    Attributes:
        dice: Overlap in [0, 1].
        iou: Intersection over union in [0, 1].
        boundary_f1: Boundary F1 in [0, 1], radius 2, with the tolerance.
        hd95: 95th percentile of the surface distances, in pixels.
    """

    dice: float
    iou: float
    boundary_f1: float
    hd95: float


def dice(pred: ArrayLike, target: ArrayLike) -> float:
    """Dice overlap ``2|P ∩ T| / (|P| + |T|)``; 1 when both masks are empty.

    Args:
        pred: Predicted mask (H, W), bool or 0/1 integers.
        target: True mask of the same shape.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: An input is not a mask.
        ValueError: An input is not a mask, or the shapes differ.

    Example:
        >>> dice(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
        0.5
    """
    return _dice(*mask_pair(pred, target))


def iou(pred: ArrayLike, target: ArrayLike) -> float:
    """Intersection over union ``|P ∩ T| / |P ∪ T|``; 1 when both masks are empty.

    Args:
        pred: Predicted mask (H, W), bool or 0/1 integers.
        target: True mask of the same shape.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: An input is not a mask.
        ValueError: An input is not a mask, or the shapes differ.
    """
    return _iou(*mask_pair(pred, target))


def boundary_f1(pred: ArrayLike, target: ArrayLike, radius: int = 2, tolerance: bool = True) -> float:
    """F1 of the boundary bands of two masks (MedCore's code holds both conventions).

    The band B of a mask is its dilation minus its erosion by a square of side 2r + 1; outside of the image is
    background. With D_r a further dilation by the same square::

        precision = |B_P ∩ D_r(B_T)| / |B_P|,  recall = |B_T ∩ D_r(B_P)| / |B_T|,  F1 = 2pr / (p + r)

    Without the tolerance D_r is left out. With it the radius is spent twice: a straight edge that is off by r pixels
    still scores 1, and only at 3r pixels does it score 0. Both masks empty: 1; one empty: 0.

    Args:
        pred: Predicted mask (H, W), bool or 0/1 integers.
        target: True mask of the same shape.
        radius: Half-width of the band in pixels, ≥ 1.
        tolerance: Whether bands are matched within a further `radius`.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: An input is not a mask.
        ValueError: An input is not a mask, the shapes differ, or `radius` is not a whole number above 0.

    Example:
        >>> target = np.zeros((40, 40), dtype=bool)
        >>> target[10:30, 10:30] = True
        >>> moved = np.roll(target, 3, axis=1)
        >>> boundary_f1(moved, target), round(boundary_f1(moved, target, tolerance=False), 3)
        (0.8875, 0.625)
    """
    first, second = mask_pair(pred, target)
    check_radius(radius)
    return _boundary_f1(*_region(first, second, margin=radius), radius, tolerance)


def hd95(pred: ArrayLike, target: ArrayLike) -> float:
    """Symmetric 95th percentile of the distances between two surfaces, in pixels (MedCore's code).

    The surface of a mask is the mask minus its 3×3 erosion, outside of the image being background. Each
    directed distance is the 95th percentile (linear interpolation) of the Euclidean distances from the pixels
    of one surface to the other; the larger of the two is returned. Both masks empty: 0; one empty: the
    largest side of the image.

    Args:
        pred: Predicted mask (H, W), bool or 0/1 integers.
        target: True mask of the same shape.

    Returns:
        Pixels, ≥ 0.

    Raises:
        TypeError: An input is not a mask.
        ValueError: An input is not a mask, or the shapes differ.

    Example:
        >>> target = np.zeros((40, 40), dtype=bool)
        >>> target[10:30, 10:30] = True
        >>> hd95(np.roll(target, 3, axis=1), target)
        3.0
    """
    first, second = mask_pair(pred, target)
    return _hd95(*_region(first, second, margin=0), largest_side=max(first.shape))


def segmentation_scores(pred: ArrayLike, target: ArrayLike) -> SegmentationScores:
    """Dice, IoU, boundary F1 (radius 2, with the tolerance) and HD95 of one pair of masks.

    Args:
        pred: Predicted mask (H, W), bool or 0/1 integers.
        target: True mask of the same shape.

    Raises:
        TypeError: An input is not a mask.
        ValueError: An input is not a mask, or the shapes differ.
    """
    first, second = mask_pair(pred, target)
    region = _region(first, second, margin=2)
    return SegmentationScores(
        dice=_dice(*region),
        iou=_iou(*region),
        boundary_f1=_boundary_f1(*region, radius=2, tolerance=True),
        hd95=_hd95(*region, largest_side=max(first.shape)),
    )


def _region(first: np.ndarray, second: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the box that holds them, widened by `margin` where the image allows it."""
    box = bounding_box(first | second, margin)
    return (first, second) if box is None else (first[box], second[box])


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 1.0


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def _boundary_f1(first: np.ndarray, second: np.ndarray, radius: int, tolerance: bool) -> float:
    if not first.any() or not second.any():
        return 0.0 if first.any() or second.any() else 1.0
    bands = [dilate_square(mask, radius) & ~erode_square(mask, radius) for mask in (first, second)]
    reached = [dilate_square(band, radius) for band in bands] if tolerance else bands
    precision = np.count_nonzero(bands[0] & reached[1]) / np.count_nonzero(bands[0])
    recall = np.count_nonzero(bands[1] & reached[0]) / np.count_nonzero(bands[1])
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _hd95(first: np.ndarray, second: np.ndarray, largest_side: int) -> float:
    if not first.any() or not second.any():
        return float(largest_side) if first.any() or second.any() else 0.0
    surfaces = [mask & ~erode_square(mask, 1) for mask in (first, second)]
    if min(np.count_nonzero(surface) for surface in surfaces) > _CROWDED * first.size:
        forth, back = _distances_by_map(*surfaces), _distances_by_map(*surfaces[::-1])
    else:
        forth, back = _distances_by_tree(*surfaces)
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def _distances_by_tree(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = [np.stack(np.nonzero(surface), axis=1) for surface in (first, second)]
    trees = [cKDTree(p, compact_nodes=False, balanced_tree=False) for p in points]
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def _distances_by_map(source: np.ndarray, to: np.ndarray) -> np.ndarray:
    return distance_transform_edt(~to)[source]
