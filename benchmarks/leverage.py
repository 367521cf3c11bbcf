"""Boundary leverage of one step on 64 images of 256×256: medlib against a plain transcription.

Run with `python -m benchmarks.leverage`.
"""

import argparse
from dataclasses import astuple

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.lesions import lesion_pair
from benchmarks.timing import interleaved_medians, peak_megabytes, ratio_table
from benchmarks.transcriptions import plain_leverage
from medlib.boundary import leverage_step


def pruning_step(generator: np.random.Generator, images: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 logits before and after a made-up step, and masks, each (images, size, size)."""
    masks = np.stack([lesion_pair(generator, size)[1] for _ in range(images)])
    before = gaussian_filter(12.0 * masks - 6, (0, 3, 3)) + generator.normal(size=masks.shape) * 0.05
    change = gaussian_filter(generator.normal(size=masks.shape), (0, 4, 4)) * 5
    return before.astype(np.float32), (before + change).astype(np.float32), masks


def main() -> None:
    """Prints milliseconds, the ratio, memory and the largest relative difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    step = pruning_step(np.random.default_rng(arguments.seed), arguments.images, size=256)
    contenders = {
        "medlib": lambda: leverage_step(*step, tau=3, compression=2.5),
        "plain scipy transcription": lambda: plain_leverage(*step, tau=3, compression=2.5),
    }
    medians = interleaved_medians(contenders, rounds=7)
    memory = {name: peak_megabytes(contender) for name, contender in contenders.items()}
    print(f"Leverage of one step on {arguments.images} images of 256×256, τ = 3:")
    print(ratio_table(medians, memory, ours="medlib"))
    ours, plain = (
        np.array(astuple(contenders["medlib"]())),
        np.array(contenders["plain scipy transcription"]()),
    )
    print(f"largest relative difference: {np.abs(ours / plain - 1).max():.2g}")


if __name__ == "__main__":
    main()
