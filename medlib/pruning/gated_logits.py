"""Logits of a segmenter whose groups are gated, kept by content."""

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from medlib.data import validate_image
from medlib.models import Segmenter, preprocessing, segmenter
from medlib.pruning import groups, stages
from medlib.pruning import masks as masking
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, check_masks
from medlib.pruning.stages import EncoderStages
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
    return sweep_logits(model, [masks], images, boxes, store)[0]


def sweep_logits(
    model: Segmenter,
    sweep: Collection[PruningMasks],
    images: Sequence[np.ndarray],
    boxes: np.ndarray,
    store: ArtefactStore,
    progress: bool = False,
) -> list[list[np.ndarray]]:
    """`gated_logits` for many masks on the same images, which repeats only the blocks that it has to.

    What comes before the first block is computed once an image, and each of the masks starts at the first block whose
    gates differ from those of the masks before it: order the sweep so that neighbours share their early blocks.

    Args:
        model: the segmenter; it is left as it was.
        sweep: gates of its encoder's groups, one record a variant of the model.
        images: N uint8 arrays (H, W, 3).
        boxes: (N, 4) XYXY in pixels.
        store: where the logits are kept, one entry for each image under each of the masks.
        progress: show a bar on stderr.

    Returns:
        For each of the masks, N float32 arrays (H, W).

    Raises:
        ValueError: see `gated_logits`; nothing was computed.
    """
    for masks in sweep:
        check_masks(encoder_blocks(model.encoder), masks)
    prompts = model.boxes([validate_image(image) for image in images], boxes)
    shared = {"weights": model.digest(), "device": str(model.device)}
    code = [preprocessing, segmenter, groups, masking, stages]
    found: list[list[np.ndarray]] = [[] for _ in sweep]
    with tqdm(total=len(sweep) * len(images), desc="logits", disable=not progress) as bar:
        for image, box, prompt in zip(images, boxes, prompts, strict=True):
            passes = _ResumedPasses(model, image, prompt[None])
            for fields, masks in zip(found, sweep, strict=True):
                inputs = {**shared, "masks": masks, "image": image, "box": box}
                kept = store.fetch("logits", inputs, partial(passes.logits, masks), code)
                fields.append(kept.tensors["logits"].numpy())
                bar.update()
    return found


class _ResumedPasses:
    """One image through the model time and again, each time from the first block whose gates have changed.

    Args:
        model: the segmenter.
        image: uint8 (H, W, 3).
        prompt: (1, 4) XYXY in input pixels.
    """

    def __init__(self, model: Segmenter, image: np.ndarray, prompt: Tensor) -> None:
        self._model, self._image, self._prompt = model, image, prompt
        self._stages = EncoderStages(model.encoder)
        self._streams: list[Tensor] = []  # before each block, and after the last one
        self._gates: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def logits(self, masks: PruningMasks) -> dict[str, Tensor]:
        """The logits (H, W) under these masks, as the artefact that is kept."""
        gates = list(zip(masks.heads, masks.channels, strict=True))
        if not self._streams:
            self._streams = [self._stages.stem(self._model.inputs([self._image]))]
        resumed = self._unchanged(gates)
        del self._streams[resumed + 1 :]
        for number in range(resumed, len(gates)):
            self._streams.append(self._after(number, self._streams[number], *gates[number]))
        self._gates = gates
        low = self._model.decode(self._stages.neck(self._streams[-1]), self._prompt)
        return {"logits": self._model.preprocessing.restore(low, *self._image.shape[:2])[0]}

    def _unchanged(self, gates: list[tuple[Tensor, Tensor]]) -> int:
        """How many blocks, from the first, have the gates of the last pass."""
        for number, (new, old) in enumerate(zip(gates, self._gates, strict=False)):
            if not all(torch.equal(one, other) for one, other in zip(new, old, strict=True)):
                return number
        return len(self._gates)

    def _after(self, number: int, stream: Tensor, heads: Tensor, channels: Tensor) -> Tensor:
        """The stream before the next block, for the stream before this one."""
        block, width = self._stages.blocks[number], self._stages.layout[number].head_dim
        stream = stream + block.projection(block.heads(stream) * heads.repeat_interleave(width).to(stream))
        stream = block.between(stream)
        stream = stream + block.contraction(block.channels(stream) * channels.to(stream))
        return self._stages.bridge(number, stream)
