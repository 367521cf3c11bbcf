"""Token weights that make compensation careful where the model draws its outline."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medlib.boundary import boundary_band
from medlib.boundary.inputs import logit_array
from medlib.data import validate_image
from medlib.models import Segmenter


@torch.no_grad()
def contour_weights(
    segmenter: Segmenter, images: Sequence[np.ndarray], boxes: np.ndarray, strength: float = 4.0, radius: float = 2.0
) -> Tensor:
    """Weigh the places near the contour that the model itself predicts, without labels (ours).

        ω = 1 + strength · [both sides of the contour of {z > 0} are within `radius`]

    with z the low-resolution logits. It stands in for weights derived from the model's gradients: near the contour an
    error can move the outline, elsewhere it has to flip the sign of z first. Hand it to `compensate` or
    `select_by_reconstruction` as `token_weights`, with the calibration made from the same images.

    Args:
        segmenter: the dense model; it is left as it was.
        images: N uint8 arrays (H, W, 3); sizes may differ.
        boxes: (N, 4) XYXY in pixels of each image.
        strength: how much more a place in the band counts than one outside of it, 0 or above.
        radius: half-width of the band in low-resolution pixels, 1 or more; see `boundary_band`.

    Returns:
        float32 (N, l, l) on the CPU, each 1 or 1 + strength; all 1 for a picture in which the model finds nothing.

    Raises:
        ValueError: strength or radius is out of range, an image or a box cannot be used, or the model gives logits that
            are not finite.

    >>> from medlib.data import boxes_from_masks, polyp_phantoms
    >>> from medlib.models import tiny_sam
    >>> samples = polyp_phantoms(2, size=128)
    >>> contour_weights(tiny_sam(depth=1), samples.images, boxes_from_masks(samples.masks)).shape
    torch.Size([2, 64, 64])
    """
    if not 0 <= strength < np.inf:
        raise ValueError(f"strength is {strength}, but adds to the weight of 1. Give a finite number, 0 or above.")
    if not 1 <= radius < np.inf:
        raise ValueError(f"radius is {radius}, but a band of less than one pixel is empty. Give 1 or more pixels.")
    prompts = segmenter.boxes([validate_image(image) for image in images], boxes)
    logits = logit_array(segmenter.decode(segmenter.embed(images), prompts), "logits", 3)
    bands = np.stack([boundary_band(field > 0, tau=radius) for field in logits])
    return 1 + strength * torch.from_numpy(bands).float()
