"""Fine-tuning of a pruned segmenter, encoder and decoder together, under its masks."""

import copy
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medlib.data import SegmentationSet, boxes_from_masks
from medlib.models import Segmenter, dice_loss
from medlib.pruning.masks import PruningMasks, masked
from medlib.pruning.recovery import at_input_size, descend, training_only

HELD_BACK = 0.2  # share of the samples that says when to stop
PATIENCE = 5


def fine_tune(
    model: Segmenter,
    samples: SegmentationSet,
    masks: PruningMasks,
    epochs: int = 20,
    *,
    generator: np.random.Generator,
    learning_rate: float = 1e-4,
    batch: int = 4,
    progress: bool = False,
) -> Segmenter:
    """Train encoder and decoder of a copy of the model with Dice + BCE loss at the input's resolution (MedCore).

    AdamW (weight decay .01), cosine decay over all epochs, gradient norm clipped at 1. A fifth of the samples is held
    back; training stops when their loss has not improved for 5 epochs, and the best weights are returned.

    Args:
        model: the segmenter; it is left unchanged.
        samples: at least two images with masks, none of them empty.
        masks: gates that stay on throughout.
        epochs: most passes over the samples; MedCore uses 20 to 50.
        generator: draws what is held back, and the order of the batches.
        learning_rate: at the start.
        batch: images a step.
        progress: show a bar on stderr.

    Returns:
        The trained segmenter, without masks: run it under `masked`, or `compact` it.

    Raises:
        ValueError: the masks do not fit, there is a single sample, or a mask is empty.
        FloatingPointError: the loss stopped being finite.
    """
    if len(samples) < 2:
        raise ValueError("one sample is too few: a part is held back to say when to stop. Give two or more.")
    tuned = Segmenter(model.name, copy.deepcopy(model.network), model.preprocessing)
    boxes = tuned.boxes(samples.images, boxes_from_masks(samples.masks, names=samples.names))
    order = generator.permutation(len(samples))
    count = max(1, round(HELD_BACK * len(samples)))
    held_back, learned = order[:count], order[count:]

    def loss_on(indices: np.ndarray) -> Tensor:
        return _loss(tuned, samples, boxes, indices)

    rounds = math.ceil(len(learned) / batch)
    best, best_loss, waited = tuned.network.state_dict(), math.inf, 0
    parts = (tuned.encoder, tuned.network.mask_decoder)
    with masked(tuned.encoder, masks), training_only(tuned, *parts) as trainable:
        optimiser = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, epochs * rounds))
        for epoch in tqdm(range(epochs), desc="fine-tuning", disable=not progress):
            for number, chosen in enumerate(np.array_split(generator.permutation(learned), rounds)):
                descend(loss_on(chosen), optimiser, epoch * rounds + number, clip=1.0)
                schedule.step()
            with torch.no_grad():
                parts_loss = [float(loss_on(part)) * len(part) for part in _batches(held_back, batch)]
            waited += 1
            if sum(parts_loss) < best_loss:
                best, best_loss, waited = copy.deepcopy(tuned.network.state_dict()), sum(parts_loss), 0
            if waited == PATIENCE:
                break
    tuned.network.load_state_dict(best)
    tuned.network.train(tuned.network.training)  # TinyViT caches its attention biases when it enters evaluation mode
    return tuned


def _loss(tuned: Segmenter, samples: SegmentationSet, boxes: Tensor, indices: np.ndarray) -> Tensor:
    embeddings = tuned.encoder(tuned.inputs([samples.images[i] for i in indices]))
    logits = at_input_size(tuned.decode(embeddings, boxes[indices]), tuned)
    masks = torch.stack([tuned.preprocessing.mask(samples.masks[i]) for i in indices]).to(logits)
    return functional.binary_cross_entropy_with_logits(logits, masks) + dice_loss(logits, masks)


def _batches(indices: np.ndarray, batch: int) -> list[np.ndarray]:
    return np.array_split(indices, math.ceil(len(indices) / batch))
