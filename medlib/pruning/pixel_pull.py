"""Where in the picture the gradients of the boundary loss come from."""

from dataclasses import dataclass

import numpy as np
import torch

from medlib.boundary import square_band
from medlib.data import SegmentationSet, boxes_from_masks
from medlib.models import Segmenter
from medlib.pruning.fisher import boundary_loss, low_resolution_mask


@dataclass(frozen=True, eq=False)
class PixelPull:
    """How strongly a loss pulls at the logits.

    Attributes:
        bands: bool (N, h, w), the boundary band of each image on the pixels of the logits.
        pulls: (N, h, w), ``|∂L/∂z|``.
    """

    bands: np.ndarray
    pulls: np.ndarray

    @property
    def share_in_band(self) -> np.ndarray:
        """(N,) share of Σ (∂L/∂z)² that lies in the band."""
        squares = self.pulls.astype(float) ** 2
        return (squares * self.bands).sum((1, 2)) / squares.sum((1, 2))


def pixel_pull(model: Segmenter, samples: SegmentationSet, boundary_weight: float = 3.0) -> PixelPull:
    """Gradient of `boundary_loss` at every low-resolution logit (ours).

    Args:
        model: the segmenter; it is left as it was.
        samples: images with masks, none of them empty.
        boundary_weight: see `boundary_loss`.

    Raises:
        ValueError: a mask is empty, or `boundary_weight` is out of range.
    """
    boxes = model.boxes(samples.images, boxes_from_masks(samples.masks, names=samples.names))
    with torch.no_grad():
        logits = model.decode(model.embed(samples.images), boxes)
    size = logits.shape[1:]
    masks = [low_resolution_mask(model.preprocessing, mask, size).cpu() for mask in samples.masks]
    logits = logits.cpu().requires_grad_()
    loss = sum(boundary_loss(z, mask, boundary_weight) for z, mask in zip(logits, masks, strict=True))
    (gradient,) = torch.autograd.grad(loss, logits)
    bands = np.stack([square_band(mask, radius=1, outside="foreground") for mask in masks])
    return PixelPull(bands, gradient.abs().numpy())
