"""Recovery: a short, boundary-aware distillation that lets a pruned encoder make up for what it lost."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medlib.boundary import square_band
from medlib.data import SegmentationSample, SegmentationSet, boxes_from_masks
from medlib.models import Segmenter, dice_loss
from medlib.pruning.fisher import low_resolution_mask
from medlib.pruning.masks import PruningMasks, masked

FrequencyNorm = Literal["normalised", "authors"]


@dataclass(frozen=True, eq=False)
class RecoveryTerms:
    """The five terms of the recovery loss of one sample, each with its weight in it.

    Attributes:
        segmentation: ½ BCE + ½ Dice loss at the input's resolution.
        boundary: BCE weighted 1 + 4·band at the input's resolution.
        embedding: ½ mean squared difference from the teacher's image embedding.
        logits: 2 · mean of band · (z − z_teacher)² at low resolution.
        frequency: ½ mean magnitude of the spectral difference above 1/4 cycle a pixel at low resolution.
    """

    segmentation: Tensor
    boundary: Tensor
    embedding: Tensor
    logits: Tensor
    frequency: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, which recovery minimises."""
        return self.segmentation + self.boundary + self.embedding + self.logits + self.frequency


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the student should say about one sample.

    Attributes:
        image: uint8 (H, W, 3).
        box: (1, 4) XYXY in input pixels.
        mask: float (S, S) in {0, 1} on the input's pixels.
        band: float (S, S), 1 on the 3×3 dilation minus erosion of `mask`.
        low_mask: float (l, l), the mask on the pixels of the low-resolution logits.
        low_band: float (l, l), its band.
        embedding: (1, C, h, w) of the teacher.
        logits: (l, l) of the teacher.
    """

    image: np.ndarray
    box: Tensor
    mask: Tensor
    band: Tensor
    low_mask: Tensor
    low_band: Tensor
    embedding: Tensor
    logits: Tensor


@torch.no_grad()
def lesson(teacher: Segmenter, sample: SegmentationSample) -> Lesson:
    """Targets of one sample: its mask, the boundary bands, and the answers of the teacher.

    Args:
        teacher: the model before recovery.
        sample: an image whose mask is not empty.

    Raises:
        ValueError: the mask is empty.
    """
    box = teacher.boxes([sample.image], boxes_from_masks([sample.mask], names=[sample.name]))
    embedding = teacher.encoder(teacher.inputs([sample.image]))
    logits = teacher.decode(embedding, box)[0]
    mask = teacher.preprocessing.mask(sample.mask) >= 0.5
    low_mask = low_resolution_mask(teacher.preprocessing, sample.mask, logits.shape)
    grids = [grid.to(logits) for grid in (mask, _band(mask), low_mask, _band(low_mask))]
    return Lesson(sample.image, box, *grids, embedding, logits)


def _band(mask: Tensor) -> Tensor:
    """3×3 dilation minus erosion, with foreground outside of the image, as in `boundary_loss`."""
    return torch.from_numpy(square_band(mask.numpy(), radius=1, outside="foreground"))


def recovery_terms(student: Segmenter, target: Lesson, frequency_norm: FrequencyNorm = "normalised") -> RecoveryTerms:
    """The loss of one sample, term by term (MedCore).

        L = ½ BCE + ½ Dice + mean[(1 + 4 B) BCE] + ½ MSE(E, E_T) + 2 mean[b (z − z_T)²]
            + ½ mean_{ν > 1/4} |F[σ(z)] − F[y]|

    with the bands B (input pixels) and b (low resolution), the embedding E, and T for the teacher.

    Args:
        student: the segmenter in recovery, with its masks on.
        target: from `lesson`.
        frequency_norm: "normalised" uses the orthonormal transform and averages over the frequencies ν > 1/4 (ours);
            "authors" leaves the transform unnormalised and averages over all frequencies, those set to zero included,
            so that the term grows with the side of the grid and outweighs the others.

    Raises:
        ValueError: `frequency_norm` is unknown.
    """
    embedding = student.encoder(student.inputs([target.image]))
    logits = student.decode(embedding, target.box)[0]
    full = at_input_size(logits[None], student)
    cross_entropy = functional.binary_cross_entropy_with_logits(full[0], target.mask, reduction="none")
    return RecoveryTerms(
        segmentation=0.5 * cross_entropy.mean() + 0.5 * dice_loss(full, target.mask[None]),
        boundary=((1 + 4 * target.band) * cross_entropy).mean(),
        embedding=0.5 * functional.mse_loss(embedding, target.embedding),
        logits=2 * (target.low_band * (logits - target.logits).square()).mean(),
        frequency=0.5 * high_frequency_difference(torch.sigmoid(logits), target.low_mask, frequency_norm),
    )


def at_input_size(logits: Tensor, segmenter: Segmenter) -> Tensor:
    """Low-resolution logits (N, l, l), interpolated to the input's pixels (N, S, S)."""
    side = segmenter.preprocessing.size
    return functional.interpolate(logits[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def high_frequency_difference(first: Tensor, second: Tensor, norm: FrequencyNorm = "normalised") -> Tensor:
    """Mean magnitude of the difference of two spectra above 1/4 cycle a pixel.

    Args:
        first: (h, w).
        second: (h, w).
        norm: see `recovery_terms`.

    Raises:
        ValueError: `norm` is unknown.
    """
    if norm not in get_args(FrequencyNorm):
        raise ValueError(f"frequency norm {norm!r} is unknown. Use one of: {', '.join(get_args(FrequencyNorm))}.")
    authors = norm == "authors"
    spectrum = torch.fft.fft2(first - second, norm="backward" if authors else "ortho")
    down, right = (torch.fft.fftfreq(side, device=first.device) for side in first.shape)
    high = torch.hypot(down[:, None], right[None]) > 0.25
    return (spectrum.abs() * high).mean() if authors else spectrum.abs()[high].mean()


def sampling_probabilities(model: Segmenter, samples: SegmentationSet) -> np.ndarray:
    """How often recovery draws each sample: ∝ max(10⁻⁴, P/(√A + 1)), so that ragged lesions come more often (MedCore).

    P counts the pixels of the low-resolution mask that its 3×3 erosion removes, A all of its pixels.

    Args:
        model: says how low the resolution is.
        samples: images with masks.

    Returns:
        (N,) with sum 1.
    """
    size = [4 * side for side in model.network.prompt_encoder.image_embedding_size]
    masks = [low_resolution_mask(model.preprocessing, mask, size) for mask in samples.masks]
    surfaces = [int((mask & _band(mask)).sum()) for mask in masks]
    areas = [int(mask.sum()) for mask in masks]
    weights = np.maximum(1e-4, np.array(surfaces) / (np.sqrt(areas) + 1))
    return weights / weights.sum()


def recover(
    model: Segmenter,
    teacher: Segmenter,
    samples: SegmentationSet,
    masks: PruningMasks,
    steps: int = 100,
    *,
    generator: np.random.Generator,
    learning_rate: float = 1e-5,
    frequency_norm: FrequencyNorm = "normalised",
    progress: bool = False,
) -> Segmenter:
    """Train the encoder of a copy of the model under its masks to match the masks and the teacher (MedCore).

    AdamW without weight decay, one sample a step, drawn with replacement by `sampling_probabilities`; the loss is
    `recovery_terms`. All encoder parameters may move but those of removed groups, which get no gradient; the prompt
    encoder and the decoder stay. Everything runs in evaluation mode. With masks that keep all groups this is the dense
    control.

    Args:
        model: the segmenter to recover; it is left unchanged.
        teacher: the segmenter before pruning, of the same family and input size.
        samples: images with masks, none of them empty.
        masks: gates that stay on throughout.
        steps: optimiser steps, 0 or more.
        generator: draws the samples.
        learning_rate: MedCore uses 10⁻⁵ on ViT-B; a small model needs more.
        frequency_norm: see `recovery_terms`.
        progress: show a bar on stderr.

    Returns:
        The recovered segmenter, without masks: run it under `masked`, or `compact` it.

    Raises:
        ValueError: the masks do not fit, a mask of a sample is empty, or `steps` is negative.
        FloatingPointError: the loss stopped being finite.
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}, but recovery takes 0 steps or more.")
    boxes_from_masks(samples.masks, names=samples.names)  # refuses empty masks before any step, not at the first draw
    student = Segmenter(model.name, copy.deepcopy(model.network), model.preprocessing)
    draws = generator.choice(len(samples), size=steps, p=sampling_probabilities(model, samples))
    lessons: dict[int, Lesson] = {}
    with masked(student.encoder, masks), training_only(student, student.encoder) as trainable:
        optimiser = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.0)
        for step, index in enumerate(tqdm(draws.tolist(), desc="recovery", disable=not progress)):
            if index not in lessons:
                lessons[index] = lesson(teacher, samples[index])
            loss = recovery_terms(student, lessons[index], frequency_norm).total
            descend(loss, optimiser, step)
    return student


@contextmanager
def training_only(segmenter: Segmenter, *parts: torch.nn.Module) -> Iterator[list[torch.nn.Parameter]]:
    """Let gradients reach the parameters of these parts alone; put the flags back and drop the gradients afterwards.

    Args:
        segmenter: the whole model.
        parts: modules of its network.

    Yields:
        The parameters of the parts.
    """
    trainable = [parameter for part in parts for parameter in part.parameters()]
    inside = {id(parameter) for parameter in trainable}
    flags = [(parameter, parameter.requires_grad) for parameter in segmenter.network.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in inside)
        with torch.enable_grad():
            yield trainable
    finally:
        for parameter, required in flags:
            parameter.requires_grad_(required)
            parameter.grad = None


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, step: int, clip: float | None = None) -> None:
    """One optimiser step down a loss.

    Args:
        loss: a scalar.
        optimiser: of the parameters that move.
        step: its number, for the error.
        clip: largest norm of the gradient; None leaves it.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss.item()} at step {step}. Lower the learning rate.")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
