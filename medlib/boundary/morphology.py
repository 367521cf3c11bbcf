"""Dilation and erosion of binary masks by squares and discs, as a few logical operations on shifted arrays.

Outside of the image is background for both operations, unless a function says otherwise.
"""

from collections.abc import Callable

import numpy as np

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def dilate_square(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilation by the square of side 2·`radius` + 1 pixels; `mask` is bool (H, W)."""
    return _square(mask, radius, np.logical_or, outside=False)


def erode_square(mask: np.ndarray, radius: int, outside: bool = False) -> np.ndarray:
    """Erosion by the square of side 2·`radius` + 1 pixels; `outside` is the value beyond the image's edge."""
    return _square(mask, radius, np.logical_and, outside=outside)


def dilate_disc(mask: np.ndarray, tau: float) -> np.ndarray:
    """All pixels whose Euclidean distance to a pixel of `mask` (H, W) is at most `tau` pixels; bool (H, W).

    The disc is a pile of horizontal runs: the run at height dy reaches as far as √(dx² + dy²) ≤ τ, so runs
    grow from the disc's poles to its equator.
    """
    height, width = mask.shape
    result = np.zeros_like(mask)
    run, reach = mask, 0
    for dy in range(min(int(tau), height - 1), -1, -1):
        while reach < width and np.sqrt((reach + 1) ** 2 + dy**2) <= tau:
            run, reach = _one_wider(run), reach + 1
        result[dy:] |= run[: height - dy]
        result[: height - dy] |= run[dy:]
    return result


def _one_wider(mask: np.ndarray) -> np.ndarray:
    wider = mask.copy()
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    return wider


def bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns of the true pixels of `mask` (H, W), widened by `margin`; None if there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return _widened(rows, margin, mask.shape[0]), _widened(columns, margin, mask.shape[1])


def _widened(indices: np.ndarray, margin: int, size: int) -> slice:
    return slice(max(int(indices[0]) - margin, 0), min(int(indices[-1]) + 1 + margin, size))


def _square(mask: np.ndarray, radius: int, combine: Combine, outside: bool) -> np.ndarray:
    return _window(_window(mask, radius, 1, combine, outside), radius, 0, combine, outside)


def _window(mask: np.ndarray, radius: int, axis: int, combine: Combine, outside: bool) -> np.ndarray:
    """Combines each pixel with its `radius` neighbours on both sides along axis 0 or 1.

    The window doubles at each pass, so 2r + 1 neighbours cost about log₂(2r + 1) passes.
    """
    margins = ((0, 0), (radius, radius)) if axis == 1 else ((radius, radius), (0, 0))
    run = np.pad(mask, margins, constant_values=outside)
    width, wanted = 1, 2 * radius + 1
    while width < wanted:
        step = min(width, wanted - width)
        run = combine(run[:, :-step], run[:, step:]) if axis == 1 else combine(run[:-step], run[step:])
        width += step
    return run
