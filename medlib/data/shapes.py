"""Scenes of generic coloured shapes: what a general segmenter learns from before it sees medicine (ours).

Lengths are fractions of the image side, so one seed shows the same scene at every size.
"""

import numpy as np
from scipy.special import expit

from medlib.data.phantom_series import phantoms
from medlib.data.radial_outline import RadialOutline, radial_outline
from medlib.data.segmentation import SegmentationSet
from medlib.data.smooth_noise import smooth_noise


def shape_scenes(count: int, size: int = 256, seed: int = 0, progress: bool = False) -> SegmentationSet:
    """Render the first `count` scenes of a series; sample i depends on `seed` and i alone.

    Each scene holds two to five circles and polygons, blurred, textured and coloured at random; the mask is the one in
    front.

    Args:
        count: how many, at least 1.
        size: pixels a side, 64 to 1024.
        seed: names the series, 0 or above.
        progress: show a progress bar.

    Raises:
        ValueError: `count`, `size` or `seed` is out of range.

    >>> shape_scenes(2, size=64)
    SegmentationSet(2 from shape phantoms, seed 0, 64 × 64)
    """
    return phantoms("shape", _draw, count, size, seed, progress)


def _draw(seeds: np.random.SeedSequence, size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seeds)
    light = _surface(size, generator)
    for _ in range(generator.integers(2, 6)):
        outline = _outline(size, generator)
        opacity = expit(outline.level / generator.uniform(0.003, 0.015))[..., None]
        light = light * (1 - opacity) + _surface(size, generator) * opacity
    light += generator.normal(0, 0.03, (size, size, 3))
    return np.round(255 * np.clip(light, 0, 1)).astype(np.uint8), outline.mask


def _outline(size: int, generator: np.random.Generator) -> RadialOutline:
    corners = int(generator.choice([0, 0, 3, 4, 5]))
    return radial_outline(size, generator, (0.12, 0.26), (1.0, 2.0), generator.uniform(0, 0.3), corners)


def _surface(size: int, generator: np.random.Generator) -> np.ndarray:
    """One colour with a coarse and a fine texture, float (size, size, 3)."""
    coarse = generator.uniform(0, 0.15) * smooth_noise(size, 0.3, generator)
    fine = generator.uniform(0, 0.12) * smooth_noise(size, generator.uniform(0.02, 0.08), generator)
    return generator.uniform(0.05, 0.95, 3) + (coarse + fine)[..., None]
