"""Logits of a segmenter whose groups are gated, kept by content."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from medlib.models import Segmenter, preprocessing, segmenter
from medlib.pruning import groups
from medlib.pruning import masks as masking
from medlib.pruning.masks import PruningMasks, masked
from medlib.store import ArtefactStore


def gated_logits(
    model: Segmenter, masks: PruningMasks, images: Sequence[np.ndarray], boxes: np.ndarray, store: ArtefactStore
) -> list[np.ndarray]:
    """Logits at the size of each image, with the encoder's groups gated; computed once for the same content.

    Args:
        model: the segmenter; it is left as it was.
        masks: gates of its encoder's groups.
        images: N uint8 arrays (H, W, 3).
        boxes: (N, 4) XYXY in pixels.
        store: where the logits are kept.

    Returns:
        N float32 arrays (H, W).

    Raises:
        ValueError: masks, images or boxes do not fit; see `masked` and `Segmenter.logits`.
    """

    def compute() -> dict[str, Tensor]:
        with masked(model.encoder, masks):
            return {str(i): z for i, z in enumerate(model.logits(images, boxes, batch=1))}

    inputs = {
        "weights": model.digest(),
        "device": str(model.device),
        "masks": masks,
        "images": list(images),
        "boxes": boxes,
    }
    kept = store.fetch("logits", inputs, compute, code=[preprocessing, segmenter, groups, masking]).tensors
    return [kept[str(i)].numpy() for i in range(len(images))]
