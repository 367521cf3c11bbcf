"""Outlines of polyp phantoms: lobes threaded on a bent spine, as a smooth level set."""

import math
from dataclasses import dataclass

import numpy as np

from medlib.data.smooth_noise import smooth_noise

_REACH = 0.44  # farthest a nominal outline reaches from the image centre, in image sides
_OVERLAP = 0.62  # least lobe radius over the widest gap between lobe centres; above 1/2, so that lobes join


@dataclass(frozen=True)
class PolypOutline:
    """A polyp's outline on a square frame; lengths are fractions of the image side, the origin is the centre.

    Attributes:
        level: float32 (size, size), roughly the distance to the outline, positive inside.
        centre: (x, y) of the middle of the spine.
        radius: typical radius of one lobe.
    """

    level: np.ndarray
    centre: tuple[float, float]
    radius: float

    @property
    def mask(self) -> np.ndarray:
        """Bool (size, size), True inside."""
        return self.level > 0


def frame_coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres (x, y), float32 (size, size), from −1/2 to 1/2; x to the right, y downwards."""
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def polyp_outline(size: int, generator: np.random.Generator) -> PolypOutline:
    """Draw an elongated, lobed outline (ours).

    φ(p) = k·ln Σ_i exp((r_i − |p − c_i|)/k) + noise: a smooth union of discs whose centres c_i follow a bent
    spine. Elongation at a random angle keeps the outline far from the ellipse that its bounding box suggests.

    Args:
        size: pixels a side.
        generator: the source of randomness.
    """
    equivalent = generator.uniform(0.15, 0.23)
    aspect = generator.uniform(1.8, 2.8)
    radius = equivalent / math.sqrt(aspect)
    half_spine = equivalent * math.sqrt(aspect) - radius
    lobes, radii = _lobes(half_spine, radius, generator)
    centre = _offset(_REACH - half_spine - radius, generator)
    blend = generator.uniform(0.08, 0.20) * radius
    wobble = generator.uniform(0.03, 0.10) * radius * smooth_noise(size, 0.6 * radius, generator)
    level = _smooth_union(size, lobes + centre, radii, blend) + wobble
    return PolypOutline(level, centre, radius)


def _smooth_union(size: int, centres: np.ndarray, radii: np.ndarray, blend: float) -> np.ndarray:
    """k·ln Σ_i exp((r_i − |p − c_i|)/k) at every pixel, with k = `blend`; float32 (size, size)."""
    x, y = frame_coordinates(size)
    union = np.full_like(x, 1e-30)
    for (cx, cy), radius in zip(centres.tolist(), radii.tolist(), strict=True):
        union += np.exp((radius - np.hypot(x - cx, y - cy)) / blend)
    return blend * np.log(union)


def _lobes(half_spine: float, radius: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres (n, 2) and radii (n,) of 3 to 5 lobes beside a turned arc, thinner towards one end."""
    along = np.linspace(-1, 1, generator.integers(3, 6))
    bend = generator.uniform(-0.5, 0.5) * half_spine
    aside = bend * (along**2 - 0.5) + generator.uniform(-0.4, 0.4, len(along)) * radius
    angle = generator.uniform(0, math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    taper = 1 + generator.uniform(-0.3, 0.3) * along
    radii = radius * taper * generator.uniform(0.75, 1.1, len(along))
    centres = np.stack([half_spine * along, aside], axis=1) @ turn
    widest_gap = np.hypot(*np.diff(centres, axis=0).T).max()
    return centres, np.maximum(radii, _OVERLAP * widest_gap)


def _offset(most: float, generator: np.random.Generator) -> tuple[float, float]:
    """A displacement (x, y) from the image centre, no longer than `most` (or 0.03 when that is less)."""
    length = max(most, 0.03) * math.sqrt(generator.uniform())
    angle = generator.uniform(0, 2 * math.pi)
    return length * math.cos(angle), length * math.sin(angle)
