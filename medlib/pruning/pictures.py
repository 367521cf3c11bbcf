"""Pictures for many encoders that differ only in their transformer blocks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from medlib.data import validate_image
from medlib.models import Segmenter
from medlib.pruning.stages import EncoderStages


class Pictures:
    """Images with their boxes, and what they are after the stem, which pruning does not touch.

    Args:
        segmenter: whose stem, prompts and decoder are used; it is left as it was.
        images: N uint8 arrays (H, W, 3).
        boxes: (N, 4) XYXY in pixels.

    Attributes:
        key: what identifies the pictures, for a store.

    Raises:
        ValueError: images or boxes that cannot be used.
    """

    @torch.no_grad()
    def __init__(self, segmenter: Segmenter, images: Sequence[np.ndarray], boxes: np.ndarray) -> None:
        self._segmenter = segmenter
        self._sizes = [validate_image(image).shape[:2] for image in images]
        self._prompts = segmenter.boxes(images, boxes)
        self.key = {"segmenter": segmenter.digest(), "images": list(images), "boxes": boxes}
        stages = EncoderStages(segmenter.encoder)
        self._stems = [stages.stem(segmenter.inputs([image])) for image in images]

    @torch.no_grad()
    def logits(self, encoder: nn.Module) -> list[np.ndarray]:
        """Logits at the size of each image, float32 (H, W), with these blocks and neck after the common stem.

        Args:
            encoder: the segmenter's own, or one that pruning or compensation made of it.
        """
        stages = EncoderStages(encoder)
        restored = []
        for stem, prompt, size in zip(self._stems, self._prompts, self._sizes, strict=True):
            low = self._segmenter.decode(stages.embedding(stem), prompt[None])
            restored.append(self._segmenter.preprocessing.restore(low, *size)[0].cpu().numpy())
        return restored
