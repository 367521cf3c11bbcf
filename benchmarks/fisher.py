"""What accumulating the Fisher information costs over the forward and backward passes that it needs anyway.

Run with `python -m benchmarks.fisher`.
"""

import argparse

import numpy as np
import torch

from benchmarks.tensor_memory import peak_tensor_megabytes
from benchmarks.timing import interleaved_medians, ratio_table
from medlib.data import SegmentationSet, boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, lite_medsam, tiny_sam
from medlib.pruning.fisher import boundary_fisher, boundary_loss, low_resolution_mask


def bare_passes(model: Segmenter, samples: SegmentationSet, boxes: np.ndarray) -> None:
    """Forward and backward pass of each sample, and nothing kept."""
    for sample, box in zip(samples, boxes, strict=True):
        model.encoder.zero_grad(set_to_none=True)
        logits = model.decode(model.encoder(model.inputs([sample.image])), model.boxes([sample.image], box[None]))[0]
        mask = low_resolution_mask(model.preprocessing, sample.mask, logits.shape)
        boundary_loss(logits, mask).backward()


def measure(model: Segmenter, samples: SegmentationSet, rounds: int) -> None:
    """Prints milliseconds a sample, the ratio and the memory of one model."""
    boxes = boxes_from_masks(samples.masks)
    model.network.requires_grad_(False)
    model.encoder.requires_grad_(True)
    contenders = {
        "bare forward + backward": lambda: bare_passes(model, samples, boxes),
        "medlib.boundary_fisher": lambda: boundary_fisher(model, samples),
    }
    medians = interleaved_medians(contenders, rounds)
    memory = {}
    for name, contender in contenders.items():
        model.encoder.zero_grad(set_to_none=True)
        memory[name] = peak_tensor_megabytes(contender)
    weights = sum(parameter.numel() for parameter in model.encoder.parameters()) * 4e-6
    print(f"{model.name}, {len(samples)} sample(s); one copy of the encoder's weights takes {weights:.1f} MB:")
    per_sample = {name: value / len(samples) for name, value in medians.items()}
    print(ratio_table(per_sample, memory, ours="bare forward + backward"))
    bare, ours = medians.values()
    print(f"accumulation takes {ours / bare - 1:.1%} more time")


def main() -> None:
    """Measures a model of each encoder of the family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure(tiny_sam(), polyp_phantoms(8, size=128), arguments.rounds)
    measure(lite_medsam(), polyp_phantoms(1, size=256), arguments.rounds)


if __name__ == "__main__":
    main()
