"""Endless series of phantoms: what every kind has in common."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from medlib.data.segmentation import SegmentationSample, SegmentationSet

Draw = Callable[[np.random.SeedSequence, int], tuple[np.ndarray, np.ndarray]]


def phantom(kind: str, draw: Draw, seed: int, size: int, index: int) -> SegmentationSample:
    """Draw sample `index` of the series that belongs to `seed`; it depends on these two alone.

    Args:
        kind: what the phantoms are called, such as "polyp".
        draw: makes (image uint8 (size, size, 3), mask bool (size, size)) from a seed sequence and a size.
        seed: names the series, 0 or above.
        size: pixels a side, 64 to 1024.
        index: which sample of the series, 0 or above.

    Raises:
        ValueError: when `size` is outside 64 … 1024, or `seed` or `index` is negative.
    """
    if not 64 <= size <= 1024:
        raise ValueError(f"size is {size}; {kind} phantoms are drawn from 64 to 1024 pixels a side.")
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise ValueError(f"{name} is {value}; use 0 or a positive integer.")
    image, mask = draw(np.random.SeedSequence(seed, spawn_key=(index,)), size)
    return SegmentationSample(name=f"{kind}-{seed}-{index:04d}", image=image, mask=mask)


def phantoms(kind: str, draw: Draw, count: int, size: int, seed: int, progress: bool) -> SegmentationSet:
    """Draw the first `count` samples of a series; see `phantom`.

    Raises:
        ValueError: when `count` is below 1, or as `phantom` raises it.
    """
    if count < 1:
        raise ValueError(f"count is {count}; ask for at least 1 phantom.")
    indices = tqdm(range(count), f"{kind} phantoms", disable=not progress)
    samples = [phantom(kind, draw, seed, size, index) for index in indices]
    return SegmentationSet.from_samples(samples, source=f"{kind} phantoms, seed {seed}")
