"""Dermoscopy phantoms: a pigmented lesion on skin, crossed by hairs, with its exact mask (ours).

Lengths are fractions of the image side, so one seed shows the same scene at every size.
"""

import math

import numpy as np
from scipy.special import expit

from medlib.data.phantom_series import phantoms
from medlib.data.polyp_outline import frame_coordinates
from medlib.data.radial_outline import RadialOutline, radial_outline
from medlib.data.segmentation import SegmentationSet
from medlib.data.smooth_noise import smooth_noise

_SKIN = np.array([0.80, 0.62, 0.54], dtype=np.float32)
_MELANIN = np.array([0.45, 0.85, 1.00], dtype=np.float32)  # what pigment takes from red, green and blue


def dermoscopy_phantoms(count: int, size: int = 256, seed: int = 0, progress: bool = False) -> SegmentationSet:
    """Render the first `count` dermoscopy phantoms of a series; sample i depends on `seed` and i alone.

    Args:
        count: how many, at least 1.
        size: pixels a side, 64 to 1024.
        seed: names the series, 0 or above.
        progress: show a progress bar.

    Raises:
        ValueError: `count`, `size` or `seed` is out of range.

    >>> dermoscopy_phantoms(2, size=64)
    SegmentationSet(2 from dermoscopy phantoms, seed 0, 64 × 64)
    """
    return phantoms("dermoscopy", _draw, count, size, seed, progress)


def _draw(seeds: np.random.SeedSequence, size: int) -> tuple[np.ndarray, np.ndarray]:
    outline_draw, skin, hair, camera = (np.random.default_rng(child) for child in seeds.spawn(4))
    outline = radial_outline(size, outline_draw, (0.13, 0.25), (1.0, 1.8), waviness=0.40)
    absorbed = _pigment(outline, size, skin)[..., None] * _MELANIN
    light = _skin(size, skin) * np.exp(-absorbed) * _hairs(size, hair)[..., None]
    light = light + camera.normal(0, 0.012, (size, size, 3))
    return np.round(255 * np.clip(light, 0, 1)).astype(np.uint8), outline.mask


def _skin(size: int, generator: np.random.Generator) -> np.ndarray:
    """Skin of varying tone, darker towards the corners."""
    x, y = frame_coordinates(size)
    tone = _SKIN * generator.uniform(0.75, 1.1) + generator.normal(0, 0.03, 3).astype(np.float32)
    uneven = 1 + 0.05 * smooth_noise(size, 0.25, generator) + 0.03 * smooth_noise(size, 0.03, generator)
    return tone * (uneven * (1 - 0.6 * (x**2 + y**2)))[..., None]


def _pigment(outline: RadialOutline, size: int, generator: np.random.Generator) -> np.ndarray:
    """Optical density: patches and a network inside the lesion, a blurred edge, freckles around it."""
    edge = expit(outline.level / generator.uniform(0.008, 0.025))
    patches = np.clip(1 + 0.45 * smooth_noise(size, 0.12, generator), 0.35, None)
    network = 1 + 0.25 * np.abs(smooth_noise(size, 0.03, generator))
    freckles = 0.5 * np.clip(smooth_noise(size, 0.05, generator) - 1.6, 0, None)
    return generator.uniform(0.35, 1.1) * edge * patches * network + freckles * (1 - edge)


def _hairs(size: int, generator: np.random.Generator) -> np.ndarray:
    """Share of light that passes between dark, slightly bent hairs."""
    x, y = frame_coordinates(size)
    passed = np.ones_like(x)
    for _ in range(generator.integers(0, 7)):
        angle, offset = generator.uniform(0, math.pi), generator.uniform(-0.4, 0.4)
        bend, width = generator.uniform(-0.8, 0.8), generator.uniform(0.003, 0.007)
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        passed *= 1 - 0.7 * np.exp(-(((across - offset - bend * along**2) / width) ** 2))
    return passed
