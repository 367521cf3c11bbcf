"""Box prompts, and what a box alone already gives away."""

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.ops import masks_to_boxes


def boxes_from_masks(
    masks: np.ndarray | Sequence[np.ndarray],
    jitter: int = 0,
    generator: np.random.Generator | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Tight box around each mask, as MedSAM prompts itself (Ma et al., Nature Communications 2024).

    (x0, y0, x1, y1) = (min x, min y, max x, max y) over the mask's pixel indices: both ends belong to the
    lesion. A lesion one pixel wide gets a box one pixel wider, so that x0 < x1 and y0 < y1 always.

    Args:
        masks: bool (N, H, W), or N arrays (H_i, W_i); several components share one box.
        jitter: largest shift of a side in pixels, 0 or above. Each side moves by an independent uniform
            integer in −jitter … jitter, stays inside the image, and stays put where the two sides would meet.
        generator: the source of the shifts; needed when `jitter` is above 0.
        names: what to call the samples in an error; their positions by default.

    Returns:
        float32 (N, 4), XYXY in pixels of each mask.

    Raises:
        ValueError: when there is no mask, a mask is empty or not (H, W), or jitter is negative or lacks a
            generator.

    >>> mask = np.zeros((8, 8), bool); mask[2:5, 1:7] = True
    >>> boxes_from_masks(mask[None])
    array([[1., 2., 6., 4.]], dtype=float32)
    """
    if len(masks) == 0:
        raise ValueError("masks is empty; pass at least one mask.")
    if jitter < 0:
        raise ValueError(f"jitter is {jitter}; it is a largest shift in pixels, 0 or above.")
    if jitter and generator is None:
        raise ValueError(f"jitter is {jitter} but no generator was given; pass np.random.default_rng(seed).")
    boxes = np.stack([_tight_box(mask, names[i] if names else i) for i, mask in enumerate(masks)])
    if not jitter:
        return boxes
    most = np.array([mask.shape[::-1] * 2 for mask in masks]) - 1
    moved = np.clip(boxes + generator.integers(-jitter, jitter, boxes.shape, endpoint=True), 0, most)
    apart = np.tile(moved[:, :2] < moved[:, 2:], 2)
    return np.where(apart, moved, boxes).astype(np.float32)


def _tight_box(mask: np.ndarray, name: str | int) -> np.ndarray:
    if mask.ndim != 2:
        raise ValueError(f"mask {name} has shape {mask.shape}; masks are (N, H, W), or a sequence of (H, W).")
    if not mask.any():
        raise ValueError(f"mask {name} is empty; a box prompt needs a lesion. Leave this sample out.")
    x0, y0, x1, y1 = masks_to_boxes(torch.from_numpy(np.ascontiguousarray(mask))[None])[0].tolist()
    x0, x1 = _widen(x0, x1, mask.shape[1])
    y0, y1 = _widen(y0, y1, mask.shape[0])
    return np.array([x0, y0, x1, y1], dtype=np.float32)


def _widen(low: float, high: float, length: int) -> tuple[float, float]:
    """Part two equal ends by one pixel, inside the image."""
    if low < high:
        return low, high
    return (low, high + 1) if high + 1 < length else (low - 1, high)


def validate_boxes(boxes: np.ndarray | Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """Return boxes as float32 (N, 4), or refuse them.

    Args:
        boxes: (N, 4), XYXY in pixels of an image of this size; 0 ≤ x0 < x1 ≤ width, 0 ≤ y0 < y1 ≤ height (the
            last column has index width − 1, and a side on the image's outer edge is accepted too).
        height: of the image, pixels.
        width: of the image, pixels.

    Raises:
        ValueError: when the shape is not (N, 4), a number is not finite, the corners are swapped or touch, or
            a box leaves the image.
    """
    boxes = np.asarray(boxes, dtype=np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise ValueError(f"boxes has shape {boxes.shape}; expected (N, 4), XYXY in pixels. One box b is b[None].")
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        found = f"box {i} is ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
        if not np.isfinite(boxes[i]).all():
            raise ValueError(f"{found}; every number must be finite.")
        if x1 <= x0 or y1 <= y0:
            raise ValueError(
                f"{found}, which spans no area; boxes are (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not "
                "(x, y, width, height)."
            )
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise ValueError(
                f"{found}, outside the image of {height} × {width} pixels (height × width); scale boxes "
                "together with their image."
            )
    return boxes


def ellipse_in_box(box: np.ndarray | Sequence[float], height: int, width: int) -> np.ndarray:
    """Fill the ellipse inscribed in a box: the baseline that knows the prompt and not the image (ours).

    ((x − x̄)/a)² + ((y − ȳ)/b)² ≤ 1 with the box's centre (x̄, ȳ) and half-sides a = (x1 − x0 + 1)/2,
    b = (y1 − y0 + 1)/2, since both ends of the box belong to the lesion.

    Args:
        box: (x0, y0, x1, y1) in pixels.
        height: of the mask, pixels.
        width: of the mask, pixels.

    Returns:
        bool (height, width).
    """
    x0, y0, x1, y1 = validate_boxes([box], height, width)[0].tolist()
    y, x = np.ogrid[:height, :width]
    across = (2 * x - x0 - x1) / (x1 - x0 + 1)
    down = (2 * y - y0 - y1) / (y1 - y0 + 1)
    return across**2 + down**2 <= 1
