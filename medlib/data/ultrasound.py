"""Ultrasound phantoms: a nodule in layered tissue under speckle, with its exact mask (ours).

Lengths are fractions of the image side, so one seed shows the same scene at every size.
"""

import numpy as np
from scipy.special import expit

from medlib.data.phantom_series import phantoms
from medlib.data.polyp_outline import frame_coordinates
from medlib.data.radial_outline import RadialOutline, radial_outline
from medlib.data.segmentation import SegmentationSet
from medlib.data.smooth_noise import smooth_noise

_SPECKLE = 0.016  # size of a grain
_LOOKS = 4  # directions that a scanner averages; the more, the calmer the speckle


def ultrasound_phantoms(count: int, size: int = 256, seed: int = 0, progress: bool = False) -> SegmentationSet:
    """Render the first `count` ultrasound phantoms of a series; sample i depends on `seed` and i alone.

    Args:
        count: how many, at least 1.
        size: pixels a side, 64 to 1024.
        seed: names the series, 0 or above.
        progress: show a progress bar.

    Raises:
        ValueError: `count`, `size` or `seed` is out of range.

    >>> ultrasound_phantoms(2, size=64)
    SegmentationSet(2 from ultrasound phantoms, seed 0, 64 × 64)
    """
    return phantoms("ultrasound", _draw, count, size, seed, progress)


def _draw(seeds: np.random.SeedSequence, size: int) -> tuple[np.ndarray, np.ndarray]:
    outline_draw, tissue, speckle = (np.random.default_rng(child) for child in seeds.spawn(3))
    outline = radial_outline(size, outline_draw, (0.12, 0.21), (1.0, 2.0), waviness=0.26)
    echo = _echo(outline, size, tissue)
    intensity = sum(smooth_noise(size, _SPECKLE, speckle) ** 2 for _ in range(2 * _LOOKS)) / (2 * _LOOKS)
    compressed = np.log1p(8 * echo * np.sqrt(intensity)) / np.log1p(8)
    grey = np.round(255 * np.clip(compressed, 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), outline.mask


def _echo(outline: RadialOutline, size: int, generator: np.random.Generator) -> np.ndarray:
    """Mean brightness before speckle: wavy layers, the nodule, and its enhancement or shadow below."""
    x, y = frame_coordinates(size)
    depth = y + 0.05 * smooth_noise(size, 0.35, generator)
    layers = 0.07 * np.sin(2 * np.pi * depth / generator.uniform(0.10, 0.22) + generator.uniform(0, 6.3))
    tissue = 0.42 + layers + 0.06 * smooth_noise(size, 0.12, generator)
    nodule = generator.uniform(0.18, 0.48) * (1 + 0.25 * smooth_noise(size, 0.07, generator))
    inside = expit(outline.level / generator.uniform(0.006, 0.016))
    echo = np.clip(tissue, 0.05, None) * (1 - inside + inside * np.clip(nodule, 0.10, None))

    sideways = (x - outline.centre[0]) / (0.7 * outline.reach)
    below = expit((y - outline.centre[1] - 0.5 * outline.reach) / 0.04) * np.exp(-(sideways**4)) * (1 - inside)
    echo *= 1 + generator.choice([-0.45, 0.5]) * below
    return echo * (1.15 - 0.5 * (y + 0.5))
