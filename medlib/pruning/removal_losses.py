"""What really happens to the loss when a head is removed: the outcome that every score tries to foretell."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from medlib.data import SegmentationSet, boxes_from_masks
from medlib.models import Segmenter, preprocessing, segmenter
from medlib.pruning import fisher, groups, stages
from medlib.pruning.fisher import boundary_loss, low_resolution_mask
from medlib.pruning.stages import EncoderStages
from medlib.store import ArtefactStore


@dataclass(frozen=True, eq=False)
class RemovalLosses:
    """Rise of `boundary_loss` when one head is removed, each head alone.

    Attributes:
        truth: float64 (heads, images), heads counted block after block: the loss against the true mask. Negative where
            the model is better off without the head.
        own: the same against the mask that the intact model draws.
    """

    truth: np.ndarray
    own: np.ndarray


def removal_losses(
    model: Segmenter, samples: SegmentationSet, store: ArtefactStore, batch: int = 4, progress: bool = False
) -> RemovalLosses:
    """Remove every head, one at a time, and measure the loss (ours); computed once for the same content.

        rise(h, n) = L(z_n without head h, y_n) − L(z_n, y_n),

    with L of `boundary_loss` and y_n the true mask of image n, or {z_n > 0}. What comes before a head's block is
    computed once for all heads of the block.

    Args:
        model: the segmenter; it is left as it was.
        samples: images with masks, none of them empty; the boxes are those of the masks.
        store: where the losses are kept.
        batch: images that go through the encoder together.
        progress: show a bar on stderr.

    Raises:
        ValueError: a mask is empty.
        TypeError: the encoder is not of the SAM family.
    """
    boxes = boxes_from_masks(samples.masks, names=samples.names)

    def compute() -> dict[str, Tensor]:
        starts = tqdm(range(0, len(samples), batch), desc="removing heads", disable=not progress)
        parts = [_rises(model, samples, boxes, slice(i, i + batch)) for i in starts]
        return {name: torch.cat([part[name] for part in parts], dim=1) for name in ("truth", "own")}

    inputs = {
        "weights": model.digest(),
        "device": str(model.device),
        "images": list(samples.images),
        "masks": list(samples.masks),
    }
    code = [sys.modules[__name__], preprocessing, segmenter, groups, stages, fisher]
    kept = store.fetch("removal-losses", inputs, compute, code).tensors
    return RemovalLosses(kept["truth"].numpy(), kept["own"].numpy())


@torch.no_grad()
def _rises(model: Segmenter, samples: SegmentationSet, boxes: np.ndarray, part: slice) -> dict[str, Tensor]:
    """(heads, images of this part) for each of the two masks."""
    images, prompts = samples.images[part], model.boxes(samples.images[part], boxes[part])
    network = EncoderStages(model.encoder)
    inputs = model.inputs(images)
    intact = model.decode(model.encoder(inputs), prompts)
    size = intact.shape[1:]
    targets = {
        "truth": [low_resolution_mask(model.preprocessing, mask, size) for mask in samples.masks[part]],
        "own": [logits > 0 for logits in intact],
    }
    before = _losses(intact, targets)
    after = [_losses(model.decode(embedding, prompts), targets) for embedding in _without_each_head(network, inputs)]
    return {name: torch.stack([losses[name] for losses in after]) - before[name] for name in targets}


def _losses(logits: Tensor, targets: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """Loss of each image; in double precision, as a head may change a sum over all pixels by little."""
    return {
        name: torch.stack([boundary_loss(z.double().cpu(), mask.cpu()) for z, mask in zip(logits, masks, strict=True)])
        for name, masks in targets.items()
    }


def _without_each_head(network: EncoderStages, inputs: Tensor) -> Iterator[Tensor]:
    """Embeddings with one head removed, in the order of the heads."""
    stream = network.stem(inputs)
    for number, (block, halves) in enumerate(zip(network.layout, network.blocks, strict=True)):
        joined = halves.heads(stream)
        for head in range(block.heads):
            gates = torch.ones(block.heads, device=joined.device)
            gates[head] = 0
            ablated = network.after(number, stream, joined * gates.repeat_interleave(block.head_dim))
            for later in range(number + 1, len(network.blocks)):
                ablated = network.after(later, ablated)
            yield network.neck(ablated)
        stream = network.after(number, stream, joined)
