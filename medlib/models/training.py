"""Training a small segmenter on labelled images."""

import copy
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medlib.data import SegmentationSet, boxes_from_masks
from medlib.models.segmenter import Segmenter


def train_segmenter(
    segmenter: Segmenter,
    samples: SegmentationSet,
    steps: int,
    generator: np.random.Generator,
    learning_rate: float = 1e-3,
    batch: int = 4,
    box_jitter: int = 3,
    freeze_prompts: bool = False,
    progress: bool = False,
) -> Segmenter:
    """Train a copy of the segmenter with 2·BCE + Dice loss on its low-resolution logits.

    AdamW (weight decay .01), 20 warm-up steps, cosine decay, gradient norm clipped at 1; boxes are jittered anew at
    every step.

    Args:
        segmenter: where to start; it is left unchanged.
        samples: images with masks, none of them empty.
        steps: optimiser steps, at least 1.
        generator: draws the batches and the box jitter.
        learning_rate: peak learning rate.
        batch: images a step.
        box_jitter: largest shift of each side of a box, in image pixels.
        freeze_prompts: keep the prompt encoder as it is, as MedSAM's training does.
        progress: show a bar on stderr.

    Returns:
        The trained segmenter, in evaluation mode.

    Raises:
        FloatingPointError: the loss stopped being finite.
    """
    trained = Segmenter(segmenter.name, copy.deepcopy(segmenter.network), segmenter.preprocessing)
    network, inputs = trained.network.train(), trained.inputs(samples.images)
    masks = torch.stack([trained.preprocessing.mask(mask) for mask in samples.masks]).to(trained.device)
    frozen = set(network.prompt_encoder.parameters()) if freeze_prompts else set()
    trainable = [parameter for parameter in network.parameters() if parameter not in frozen]
    optimiser = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _warm_cosine(step, steps))
    for step in tqdm(range(steps), desc=f"training {trained.name}", disable=not progress):
        chosen = generator.choice(len(samples), size=min(batch, len(samples)), replace=False)
        boxes = boxes_from_masks([samples.masks[i] for i in chosen], jitter=box_jitter, generator=generator)
        prompts = trained.boxes([samples.images[i] for i in chosen], boxes)
        logits = trained.decode(network.image_encoder(inputs[chosen]), prompts)
        target = functional.adaptive_avg_pool2d(masks[chosen], logits.shape[-2:])
        loss = 2 * functional.binary_cross_entropy_with_logits(logits, target) + dice_loss(logits, target)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}. Lower the learning rate.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        schedule.step()
    network.eval()
    return trained


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over images of 1 − 2 Σ p y / (Σ p + Σ y), with p = σ(logits).

    Args:
        logits: (N, h, w).
        target: (N, h, w) in [0, 1].
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum((-2, -1))
    return (1 - (2 * overlap + 1e-5) / ((probability + target).sum((-2, -1)) + 1e-5)).mean()


def _warm_cosine(step: int, steps: int, warm_up: int = 20) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
