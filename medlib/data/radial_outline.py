"""Outlines given by their radius at every angle, as a level set."""

import math
from dataclasses import dataclass

import numpy as np

from medlib.data.polyp_outline import frame_coordinates

_REACH = 0.45  # farthest an outline reaches from the image centre along each axis, in image sides


@dataclass(frozen=True)
class RadialOutline:
    """An outline on a square frame; lengths are fractions of the image side, the origin is the centre.

    Attributes:
        level: float32 (size, size), roughly the distance to the outline, positive inside.
        centre: (x, y) of the pole.
        reach: farthest distance of the outline from the pole.
    """

    level: np.ndarray
    centre: tuple[float, float]
    reach: float

    @property
    def mask(self) -> np.ndarray:
        """Bool (size, size), True inside."""
        return self.level > 0


def radial_outline(
    size: int,
    generator: np.random.Generator,
    radius: tuple[float, float],
    elongation: tuple[float, float],
    waviness: float,
    corners: int = 0,
) -> RadialOutline:
    """Draw a turned, stretched outline (ours).

    φ(p) = r(θ) − |p|, with p turned and stretched so that areas stay, and r(θ) a circle or a regular polygon times
    1 + Σ_k a_k cos(kθ + φ_k), k = 2 … 6, a_k ~ N(0, waviness/k).

    Args:
        size: pixels a side.
        generator: the source of randomness.
        radius: least and largest mean radius, in image sides.
        elongation: least and largest ratio of the long axis to the short one.
        waviness: 0 for a smooth outline; .5 is a ragged one.
        corners: of the polygon, 3 or more; 0 for a circle.
    """
    mean, stretch = generator.uniform(*radius), math.sqrt(generator.uniform(*elongation))
    orders = np.arange(2, 7)
    waves = generator.normal(0, waviness / orders), generator.uniform(0, 2 * math.pi, len(orders))

    def radius_at(angle: np.ndarray) -> np.ndarray:
        series = 1 + sum(a * np.cos(k * angle + phase) for k, a, phase in zip(orders, *waves, strict=True))
        sector = 2 * math.pi / max(corners, 1)
        polygon = math.cos(sector / 2) / np.cos(angle % sector - sector / 2) if corners else 1.0
        return mean * np.maximum(series, 0.4) * polygon

    reach = stretch * float(radius_at(np.linspace(0, 2 * math.pi, 90)).max())
    centre = tuple(generator.uniform(-1, 1, 2) * max(_REACH - reach, 0.02))
    turn = generator.uniform(0, math.pi)
    x, y = frame_coordinates(size)
    x, y = x - centre[0], y - centre[1]
    along = (x * math.cos(turn) + y * math.sin(turn)) / stretch
    across = (y * math.cos(turn) - x * math.sin(turn)) * stretch
    level = radius_at(np.arctan2(across, along)) - np.hypot(along, across)
    return RadialOutline(level.astype(np.float32), centre, reach)
