"""Plain transcriptions of the definitions on the full image: slow, obvious, and what medlib must equal.

They share no code with medlib. The benchmarks time them, the tests compare values with them.
"""

import numpy as np
from scipy import ndimage


def plain_dice(pred: np.ndarray, target: np.ndarray) -> float:
    """Dice overlap; 1 when both masks are empty."""
    total = int(pred.sum()) + int(target.sum())
    return 1.0 if total == 0 else 2 * int((pred & target).sum()) / total


def plain_iou(pred: np.ndarray, target: np.ndarray) -> float:
    """Intersection over union; 1 when both masks are empty."""
    union = int((pred | target).sum())
    return 1.0 if union == 0 else int((pred & target).sum()) / union


def plain_boundary_f1(pred: np.ndarray, target: np.ndarray, radius: int = 2, tolerance: bool = True) -> float:
    """Boundary F1 of the dilation-minus-erosion bands, matched within a further dilation."""
    if not pred.any() and not target.any():
        return 1.0
    if not pred.any() or not target.any():
        return 0.0
    square = np.ones((2 * radius + 1, 2 * radius + 1), dtype=bool)

    def band(mask: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(mask, square) & ~ndimage.binary_erosion(mask, square)

    def reach(mask: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(mask, square) if tolerance else mask

    band_pred, band_target = band(pred), band(target)
    precision = int((band_pred & reach(band_target)).sum()) / int(band_pred.sum())
    recall = int((band_target & reach(band_pred)).sum()) / int(band_target.sum())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def plain_hd95(pred: np.ndarray, target: np.ndarray) -> float:
    """Larger of the two directed 95th percentiles between the one-pixel inner surfaces."""
    if not pred.any() and not target.any():
        return 0.0
    if not pred.any() or not target.any():
        return float(max(pred.shape))
    square = np.ones((3, 3), dtype=bool)
    surface_pred = pred & ~ndimage.binary_erosion(pred, square)
    surface_target = target & ~ndimage.binary_erosion(target, square)
    forth = ndimage.distance_transform_edt(~surface_target)[surface_pred]
    back = ndimage.distance_transform_edt(~surface_pred)[surface_target]
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def plain_band(mask: np.ndarray, tau: float) -> np.ndarray:
    """The pixels within `tau` of the boundary, on both sides; none for an empty or a full mask."""
    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    return np.maximum(inside, outside) <= tau


def plain_gradient(logits: np.ndarray, padding: str = "replicate") -> np.ndarray:
    """Magnitude of the Sobel gradient divided by 8, of one (H, W) field."""
    mode = {"replicate": "nearest", "zeros": "constant"}[padding]
    down = ndimage.sobel(logits, axis=0, mode=mode) / 8
    across = ndimage.sobel(logits, axis=1, mode=mode) / 8
    return np.sqrt(down**2 + across**2)


def plain_leverage(
    before: np.ndarray,
    after: np.ndarray,
    masks: np.ndarray,
    tau: float,
    compression: float,
    band: str = "both_sides",
    floor: str = "image",
    padding: str = "replicate",
) -> tuple[float, float, float]:
    """Mean, 95th percentile and whole-image mean of one step, image after image, in float64."""
    before, after = before.astype(np.float64), after.astype(np.float64)
    gradients = [plain_gradient(image, padding) for image in before]
    stack = np.stack(gradients)
    ratios = []
    for first, second, mask, gradient in zip(before, after, masks, gradients, strict=True):
        group = gradient if floor == "image" else stack
        lowest = max(np.percentile(group[group > 0], 5), 1e-6)
        chosen = plain_band(mask, tau) if band == "both_sides" else np.ones_like(mask)
        ratios.append((np.abs(second - first) / np.maximum(gradient, lowest))[chosen])
    pooled = np.concatenate(ratios)
    return (
        float(pooled.mean() / compression),
        float(np.percentile(pooled, 95) / compression),
        float(np.abs(after - before).mean() / compression),
    )
