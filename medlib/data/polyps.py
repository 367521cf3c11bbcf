"""Polyp phantoms: small rendered colonoscopy scenes with the lesion's exact mask (ours).

A scene is a height map (wall folds, polyp) lit by a lamp beside the camera, painted with mucosa and vessels,
darkened towards the lumen, and sprinkled with specular highlights. Lengths are fractions of the image side,
so one seed shows the same scene at every size. Nothing is copied from a photograph.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medlib.data.phantom_series import phantom, phantoms
from medlib.data.polyp_outline import PolypOutline, frame_coordinates, polyp_outline
from medlib.data.segmentation import SegmentationSample, SegmentationSet
from medlib.data.smooth_noise import smooth_noise

_MUCOSA = np.array([0.80, 0.47, 0.39], dtype=np.float32)
_BLOOD = np.array([0.30, 1.00, 0.85], dtype=np.float32)  # what haemoglobin takes from red, green and blue
# One independent random stream each, so that a change to one part leaves the others as they were.
_PARTS = (
    "outline",
    "edge",
    "relief",
    "lumen",
    "folds",
    "lamp",
    "rim",
    "shadow",
    "albedo",
    "vessels",
    "highlights",
    "camera",
)


def polyp_phantom(seed: int, size: int = 256, index: int = 0) -> SegmentationSample:
    """Render sample `index` of the endless series of polyp phantoms that belongs to `seed` (ours).

    Args:
        seed: names the series, 0 or above.
        size: pixels a side, 64 to 1024.
        index: which sample of the series, 0 or above.

    Returns:
        A sample with image uint8 (size, size, 3) and mask bool (size, size).

    Raises:
        ValueError: when `size` is outside 64 … 1024, or `seed` or `index` is negative.

    >>> sample = polyp_phantom(seed=3, size=64)
    >>> sample.image.shape, sample.mask.dtype.name
    ((64, 64, 3), 'bool')
    """
    return phantom("polyp", _draw, seed, size, index)


def polyp_phantoms(count: int, size: int = 256, seed: int = 0, progress: bool = False) -> SegmentationSet:
    """Render the first `count` polyp phantoms of a series; sample i depends on `seed` and i alone.

    Args:
        count: how many, at least 1.
        size: pixels a side, 64 to 1024.
        seed: names the series, 0 or above.
        progress: show a progress bar.
    """
    return phantoms("polyp", _draw, count, size, seed, progress)


def _draw(seeds: np.random.SeedSequence, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = {part: np.random.default_rng(child) for part, child in zip(_PARTS, seeds.spawn(len(_PARTS)), strict=True)}
    outline = polyp_outline(size, draw["outline"])
    return _render(outline, size, draw), outline.mask


def _render(outline: PolypOutline, size: int, draw: dict[str, np.random.Generator]) -> np.ndarray:
    """Compose the scene: geometry, then light, then colour, then the camera; uint8 (size, size, 3)."""
    coverage = _coverage(outline, size, draw["edge"])
    wall = _wall(_lumen_distance(outline, size, draw["lumen"]), size, draw["folds"])
    height = wall.height * (1 - 0.85 * coverage) + _polyp_height(outline, size, draw["relief"])
    lamp = _lamp(size, draw["lamp"])
    shade = _shading(_normals(height), lamp, outline, draw["rim"])
    shade *= _contact_shadow(outline, lamp, draw["shadow"]) * (coverage + (1 - coverage) * wall.brightness)
    albedo = _albedo(coverage, size, draw["albedo"]) - _vessels(coverage, size, draw["vessels"])
    highlights = _highlights(height, lamp, size, draw["highlights"]) * np.minimum(1, 2 * shade)
    return _photograph(albedo * shade[..., None] + highlights[..., None], draw["camera"])


def _coverage(outline: PolypOutline, size: int, generator: np.random.Generator) -> np.ndarray:
    """Opacity of the polyp in [0, 1]: a ramp 0.004 to 0.016 wide, at least 0.8 pixels, across the outline."""
    width = max(math.exp(generator.uniform(math.log(0.004), math.log(0.016))), 0.8 / size)
    return _sigmoid(outline.level * 4 / width)


def _lumen_distance(outline: PolypOutline, size: int, generator: np.random.Generator) -> np.ndarray:
    """Warped distance to the lumen, which lies across the image from the polyp: in view in most scenes."""
    away = math.atan2(-outline.centre[1], -outline.centre[0]) + generator.uniform(-0.6, 0.6)
    far = generator.uniform(0.36, 0.46) if generator.uniform() < 0.6 else generator.uniform(0.65, 1.0)
    x, y = frame_coordinates(size)
    dx, dy = x - far * math.cos(away), y - far * math.sin(away)
    squeeze = math.sqrt(generator.uniform(0.7, 1.4))
    warp = 0.04 * smooth_noise(size, 0.18, generator) + 0.008 * smooth_noise(size, 0.06, generator)
    return np.maximum(np.hypot(dx * squeeze, dy / squeeze) + warp, 1e-3)


@dataclass(frozen=True)
class _Wall:
    """The colon wall: height towards the camera, and the share of the light that its depth lets through."""

    height: np.ndarray
    brightness: np.ndarray


def _wall(distance: np.ndarray, size: int, generator: np.random.Generator) -> _Wall:
    """Ring-shaped folds around the lumen, narrower in the distance; each hides what lies behind it."""
    period = generator.uniform(0.30, 0.60)
    warp = 0.35 * smooth_noise(size, 0.30, generator) + 0.06 * smooth_noise(size, 0.09, generator)
    phase = np.log(distance + 0.06) / period + warp
    presence = np.clip(0.6 + 0.7 * smooth_noise(size, 0.35, generator), 0, 1)
    ridge = presence * np.exp(-((np.sin(np.pi * phase) / 0.55) ** 2))
    uneven = 0.010 * smooth_noise(size, 0.14, generator) + 0.0006 * smooth_noise(size, 0.02, generator)
    height = generator.uniform(0.03, 0.07) * np.minimum(distance, 0.5) * ridge + uneven

    behind = phase - np.floor(phase)
    hidden = behind**2 * _sigmoid((0.95 - behind) / 0.02) * presence * generator.uniform(0.25, 0.5)
    depth = generator.uniform(0.08, 0.15)
    return _Wall(height, (1 - hidden) * distance**2 / (distance**2 + depth**2))


def _polyp_height(outline: PolypOutline, size: int, generator: np.random.Generator) -> np.ndarray:
    """A dome over every lobe, lumpy and finely pitted, on a low skirt where the wall is drawn up."""
    inside = np.clip(outline.level / outline.level.max(), 0, 1)
    dome = np.sqrt(1 - (1 - inside) ** 2) ** generator.uniform(1.0, 1.5)
    lumps = 0.06 * smooth_noise(size, 0.5 * outline.radius, generator)
    lumps += 0.012 * smooth_noise(size, 0.022, generator)
    skirt = 0.18 * np.exp(np.minimum(outline.level, 0) / (0.35 * outline.radius))
    height = generator.uniform(0.3, 0.55) * outline.radius * (dome * (1 + lumps) + skirt)
    return gaussian_filter(height, 0.005 * size)


@dataclass(frozen=True)
class _Lamp:
    """Unit vectors to the light (3, size, size), its fall-off (size, size), and the spot it points at."""

    direction: np.ndarray
    falloff: np.ndarray
    spot: tuple[float, float]


def _lamp(size: int, generator: np.random.Generator) -> _Lamp:
    """A lamp beside the camera, aimed off centre."""
    spot = generator.uniform(-0.25, 0.25), generator.uniform(-0.25, 0.25)
    x, y = frame_coordinates(size)
    dx, dy = spot[0] - x, spot[1] - y
    distance = np.full_like(dx, generator.uniform(0.6, 0.9))
    falloff = np.exp(-(dx**2 + dy**2) / generator.uniform(0.65, 0.95) ** 2)
    return _Lamp(_unit(np.stack([dx, dy, distance])), falloff, spot)


def _normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (3, size, size) of a height map whose unit is the image side."""
    down, right = np.gradient(height * height.shape[0])
    return _unit(np.stack([-right, -down, np.ones_like(height)]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).sum(axis=0))


def _shading(normals: np.ndarray, lamp: _Lamp, outline: PolypOutline, generator: np.random.Generator) -> np.ndarray:
    """Diffuse light times its fall-off; scattering under the surface keeps the polyp's steep rim lit."""
    lambert = np.clip((normals * lamp.direction).sum(axis=0), 0, 1)
    rim = np.exp(-np.abs(outline.level) / 0.02) * _sigmoid((outline.level + 0.004) / 0.002)
    lit = lambert + generator.uniform(0.25, 0.70) * rim * np.clip(0.92 - lambert, 0, None)
    return (0.40 + 0.70 * lit) * (0.35 + 0.85 * lamp.falloff)


def _contact_shadow(outline: PolypOutline, lamp: _Lamp, generator: np.random.Generator) -> np.ndarray:
    """A soft shadow on the wall around the polyp, deeper on the side away from the lamp."""
    size = len(outline.level)
    x, y = frame_coordinates(size)
    away = math.atan2(outline.centre[1] - lamp.spot[1], outline.centre[0] - lamp.spot[0])
    side = (x - outline.centre[0]) * math.cos(away) + (y - outline.centre[1]) * math.sin(away)
    outside = np.clip(-outline.level, 0, None)
    depth = generator.uniform(0.15, 0.28) * (0.4 + 0.6 * _sigmoid(2 * side / outline.radius))
    shadow = depth * np.exp(-outside / generator.uniform(0.015, 0.04)) * (outline.level <= 0)
    return 1 - gaussian_filter(shadow.astype(np.float32), 0.002 * size)


def _albedo(coverage: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Colour of the mucosa, and of the polyp: less green and blue, so redder, with a fine pit pattern."""
    mucosa = _MUCOSA + generator.normal(0, (0.03, 0.045, 0.04)).astype(np.float32)
    patches = 0.05 * smooth_noise(size, 0.30, generator) + 0.025 * smooth_noise(size, 0.05, generator)
    grain = 0.018 * smooth_noise(size, 0.012, generator)
    flush = np.array([generator.uniform(-0.03, 0.07), *generator.uniform(-0.11, -0.03, 2)])
    pits = 0.030 * smooth_noise(size, 0.014, generator) + 0.018 * smooth_noise(size, 0.05, generator)
    lesion = flush + pits[..., None] * np.array([0.5, 1, 1])
    colour = mucosa * (1 + patches + grain)[..., None] + coverage[..., None] * lesion
    return colour.astype(np.float32)


def _vessels(coverage: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Absorption by winding trunks and finer branches under the wall, patchy, and veiled by the polyp."""
    visible = np.clip(0.5 + 0.8 * smooth_noise(size, 0.3, generator), 0, 1) * generator.uniform(0.02, 0.13)
    trunks = np.clip(1 - np.abs(smooth_noise(size, 0.15, generator)) / 0.07, 0, 1)
    branches = np.clip(1 - np.abs(smooth_noise(size, 0.07, generator)) / 0.09, 0, 1)
    absorbed = visible * np.maximum(trunks, 0.6 * branches) * (1 - 0.85 * coverage)
    return absorbed[..., None] * _BLOOD


def _highlights(height: np.ndarray, lamp: _Lamp, size: int, generator: np.random.Generator) -> np.ndarray:
    """Mirror reflections of the lamp (Blinn–Phong) on the wet, slightly rough surface, in patches."""
    rough = height + 0.0032 * smooth_noise(size, 0.028, generator)
    half_way = lamp.direction + np.array([0, 0, 1], dtype=np.float32)[:, None, None]
    mirror = np.clip((_normals(rough) * _unit(half_way)).sum(axis=0), 0, 1) ** 300
    wet = _sigmoid(8 * (smooth_noise(size, 0.12, generator) - generator.uniform(0.7, 1.5)))
    return np.clip(1.5 * gaussian_filter(mirror * wet, 0.0025 * size), 0, 0.9)


def _photograph(light: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Lens blur, sensor noise, vignette, the octagonal frame and the tone curve; uint8 (size, size, 3)."""
    size = len(light)
    corner = generator.uniform(0.68, 0.82)
    x, y = frame_coordinates(size)
    aperture = _sigmoid((corner - np.abs(x) - np.abs(y)) * 2 * size)
    vignette = 1 - 0.35 * np.clip((x**2 + y**2) / 0.5, 0, 1)
    image = gaussian_filter(light, (0.002 * size, 0.002 * size, 0))
    image += generator.normal(0, 0.008, (size, size, 1)) + generator.normal(0, 0.005, (size, size, 3))
    image *= (aperture * vignette)[..., None]
    return np.round(255 * np.clip(image, 0, 1) ** 0.8).astype(np.uint8)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -40, 40)))
