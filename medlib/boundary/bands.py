"""Bands of pixels along the boundary of a mask.

Two families live here because the papers' code uses both: bands by Euclidean distance (boundary leverage) and
bands by square dilation and erosion (boundary F1, boundary-aware Fisher).
"""

from typing import Literal

import numpy as np

from medlib.boundary.inputs import ArrayLike, mask_array
from medlib.boundary.morphology import bounding_box, dilate_disc, dilate_square, erode_square

BandRule = Literal["both_sides", "whole_image"]
Outside = Literal["background", "foreground"]


def boundary_band(mask: ArrayLike, tau: float, rule: BandRule = "both_sides") -> np.ndarray:
    """The pixels within `tau` pixels of the boundary of a mask, inside and outside of it.

    With d_in the distance of a pixel to the nearest background pixel and d_out to the nearest foreground
    pixel::

        both_sides:   max(d_in, d_out) ≤ τ    (ours)
        whole_image:  min(d_in, d_out) ≤ τ    (the MedCore authors' script)

    One of d_in and d_out is always 0, so their maximum is the distance to the other side, and their minimum
    is 0 everywhere: the second rule selects every pixel of every image, whatever τ. It is kept to reproduce
    their numbers. Under "both_sides" an empty or a full mask has no boundary in the image: its band is empty,
    all False.

    Args:
        mask: (H, W), bool or 0/1 integers.
        tau: Half-width in pixels, > 0. The first pixel on either side is at distance 1, so τ < 1 selects
            none.
        rule: "both_sides" or "whole_image".

    Returns:
        bool (H, W).

    Raises:
        TypeError: `mask` is not a mask.
        ValueError: `mask` is not a mask, `tau` is not positive and finite, or `rule` is unknown.

    Example:
        >>> mask = np.zeros((7, 7), dtype=bool)
        >>> mask[:, 3:] = True
        >>> boundary_band(mask, tau=2)[0].astype(int)
        array([0, 1, 1, 1, 1, 0, 0])
        >>> boundary_band(mask, tau=2, rule="whole_image").mean()
        np.float64(1.0)
    """
    inside = mask_array(mask, "mask")
    check_tau(tau)
    check_rule(rule)
    if rule == "whole_image":
        return np.ones_like(inside)
    band = np.zeros_like(inside)
    box = bounding_box(inside, margin=int(tau))
    if box is not None:
        crop = inside[box]
        band[box] = dilate_disc(crop, tau) & dilate_disc(~crop, tau)
    return band


def square_band(mask: ArrayLike, radius: int, outside: Outside = "background") -> np.ndarray:
    """The square dilation of a mask minus its square erosion: a band of about 2·`radius` pixels.

    What lies outside of the image matters for masks that touch its edge. MedCore's metrics let the erosion
    see background there, so the edge is part of the boundary; its Fisher weights let it see foreground, so a
    mask that leaves the image has no boundary where it does.

    Args:
        mask: (H, W), bool or 0/1 integers.
        radius: Half the side of the square in pixels, ≥ 1: the square has 2·radius + 1 pixels a side.
        outside: "background" (the metrics' convention) or "foreground" (the Fisher's).

    Returns:
        bool (H, W); all False for an empty mask.

    Raises:
        TypeError: `mask` is not a mask.
        ValueError: `mask` is not a mask, `radius` is not a positive whole number, or `outside` is unknown.
    """
    inside = mask_array(mask, "mask")
    check_radius(radius)
    if outside not in ("background", "foreground"):
        raise ValueError(
            f'`outside` is {outside!r}, which is no convention of this function: choose "background" or "foreground".'
        )
    return dilate_square(inside, radius) & ~erode_square(inside, radius, outside=outside == "foreground")


def check_tau(tau: float) -> None:
    """Raises ValueError unless `tau` is a positive, finite number of pixels."""
    if not 0 < tau < np.inf:
        raise ValueError(
            f"`tau` is {tau}, but the half-width of a band is a positive number of pixels: MedCore uses 3 and 5."
        )


def check_rule(rule: str) -> None:
    """Raises ValueError unless `rule` names one of the two band rules."""
    if rule not in ("both_sides", "whole_image"):
        raise ValueError(
            f'The band rule {rule!r} is unknown: choose "both_sides" for the pixels within tau of the '
            'boundary, or "whole_image" to reproduce the authors\' script.'
        )


def check_radius(radius: int) -> None:
    """Raises ValueError unless `radius` is a whole number of pixels, at least 1."""
    if radius != int(radius) or radius < 1:
        raise ValueError(
            f"`radius` is {radius}, but a square has 2·radius + 1 pixels a side: pass a whole number, 1 or more."
        )
