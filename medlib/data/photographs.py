"""A real medical photograph that needs no download."""

from dataclasses import dataclass

import numpy as np
import skimage.data
from skimage.transform import resize

# The optic disc in scikit-image's 1411 × 1411 photograph, in its pixels: crop (top, left, side), box (XYXY)
# with a small margin. Chosen among some thirty, because LiteMedSAM's outline then is one piece at 256².
_DISC_CROP = (400, 0, 500)
_DISC_BOX = (108, 526, 326, 770)


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph with a box prompt around one structure, and no ground truth.

    Attributes:
        image: uint8 (H, W, 3).
        box: float32 (4,), XYXY in pixels of the image.
        source: one sentence on origin and licence, for captions.
    """

    image: np.ndarray
    box: np.ndarray
    source: str


def retina_photograph(size: int = 256) -> Photograph:
    """Crop the optic disc and its vessels out of the fundus photograph that ships inside scikit-image.

    Args:
        size: pixels a side of the resampled crop, 64 to 1024 (the crop has 500 of its own).

    Raises:
        ValueError: when `size` is outside 64 … 1024.
    """
    if not 64 <= size <= 1024:
        raise ValueError(f"size is {size}; the retina crop is resampled to 64 … 1024 pixels a side.")
    top, left, side = _DISC_CROP
    crop = skimage.data.retina()[top : top + side, left : left + side]
    image = np.round(255 * resize(crop, (size, size), anti_aliasing=size < side)).astype(np.uint8)
    box = (np.array(_DISC_BOX, dtype=np.float32) - (left, top, left, top)) * size / side
    return Photograph(
        image=image,
        box=box.astype(np.float32),
        source="Fundus of a normal left eye, Mikael Häggström (2014), CC0, shipped with scikit-image.",
    )
