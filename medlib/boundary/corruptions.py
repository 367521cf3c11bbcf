"""Predictions made wrong on purpose: different boundaries at one and the same Dice."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, shift

from medlib.boundary.inputs import ArrayLike, mask_array
from medlib.boundary.metrics import dice


def same_dice(mask: ArrayLike, target: float, generator: np.random.Generator) -> Mapping[str, np.ndarray]:
    """Corrupt a mask in four ways, each just strongly enough to bring Dice down to one value (ours).

    "shifted" moves the whole lesion in one direction; "shrunk" erodes it evenly; "ragged" frays its outline with smooth
    noise; "false island" leaves it untouched and adds a disc elsewhere. The strength of each is found by bisection.

    Args:
        mask: (H, W), the true lesion, neither empty nor full.
        target: the Dice to reach, in (0.5, 1).
        generator: draws the direction of the shift and the noise.

    Returns:
        Name → corrupted mask; Dice with `mask` is `target` to within a few pixels' worth.

    Raises:
        ValueError: the mask is empty or full, or the target is outside (0.5, 1).
    """
    true = mask_array(mask, "mask")
    if not true.any() or true.all():
        raise ValueError("the mask is empty or full, so it has no boundary to corrupt. Pass a mask with a lesion.")
    if not 0.5 < target < 1.0:
        raise ValueError(f"the target Dice is {target}; choose one between 0.5 and 1.")
    inside = _signed_distance(true)
    smooth = gaussian_filter(inside, 1.0)  # breaks the ties between pixels at one whole distance
    noise = gaussian_filter(generator.standard_normal(true.shape), 2.5)
    noise /= noise.std()
    angle = generator.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    far = _disc_distance(true.shape, _farthest_point(inside))
    side = float(max(true.shape))
    families: dict[str, tuple[Callable[[float], np.ndarray], float]] = {
        "shifted": (lambda s: shift(inside, s * direction, order=1, mode="nearest") > 0, side / 2),
        "shrunk": (lambda s: smooth > s, float(inside.max())),
        "ragged": (lambda s: inside + s * noise > 0, side / 2),
        "false island": (lambda s: true | (far < s), side),
    }
    return {name: _bisect(true, family, most, target) for name, (family, most) in families.items()}


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the boundary in pixels, positive inside, zero between the last pixel in and the first out."""
    return np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))


def _farthest_point(inside: np.ndarray) -> tuple[int, int]:
    """The point farthest from the lesion among those in the middle three quarters of the image."""
    rows, columns = (slice(size // 8, size - size // 8) for size in inside.shape)
    row, column = np.unravel_index(np.argmin(inside[rows, columns]), inside[rows, columns].shape)
    return int(row) + rows.start, int(column) + columns.start


def _disc_distance(shape: tuple[int, ...], centre: tuple[int, int]) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - centre[0], columns - centre[1])


def _bisect(true: np.ndarray, family: Callable[[float], np.ndarray], most: float, target: float) -> np.ndarray:
    """The weakest member of a family whose Dice has fallen to the target."""
    low, high = 0.0, most
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if dice(family(middle), true) > target else (low, middle)
    return family(high)
