"""Seeded pairs of lesion-like masks to measure on."""

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def lesion_pair(generator: np.random.Generator, size: int = 1024) -> Pair:
    """A lobed, elongated lesion of about 5 to 15 % of the image, and a moderately different outline of it."""
    area = generator.uniform(0.05, 0.15) * size**2
    stretch = generator.uniform(1, 1.6)
    centre = size * generator.uniform(0.35, 0.65, size=2)
    lobes = generator.normal(size=(5, 2)) * 0.12 / np.arange(1, 6)[:, None]
    other = lobes + generator.normal(size=lobes.shape) * 0.02
    drift = generator.normal(size=2) * size / 200
    return _lesion(size, centre + drift, area, stretch, other), _lesion(size, centre, area, stretch, lobes)


def _lesion(size: int, centre: np.ndarray, area: float, stretch: float, lobes: np.ndarray) -> np.ndarray:
    row, column = np.mgrid[:size, :size].astype(np.float64)
    down, across = (row - centre[0]) * stretch, column - centre[1]
    angle = np.arctan2(down, across)
    outline = np.ones_like(angle)
    for k, (cosine, sine) in enumerate(lobes, start=1):
        outline += cosine * np.cos(k * angle) + sine * np.sin(k * angle)
    return np.hypot(down, across) <= np.sqrt(area * stretch / np.pi) * outline
