"""The slope of a logit field: how steeply it crosses the boundary decides how far a perturbation moves it."""

from typing import Literal, TypeVar

import numpy as np
import torch
from torch.nn import functional

from medlib.boundary.inputs import ArrayLike

Padding = Literal["replicate", "zeros"]
Logits = TypeVar("Logits", np.ndarray, torch.Tensor)


def spatial_gradient(logits: Logits, padding: Padding = "replicate") -> Logits:
    """Magnitude ``|∇z|`` of the Sobel gradient divided by 8, in logits per pixel (MedCore's code).

    With D the central difference [-1, 0, 1] and S the smoothing [1, 2, 1] across it::

        |∇z| = √((D_row S_col z)² + (D_col S_row z)²) / 8

    It is exact for a linear field away from the edge. Zero padding, as in the authors' code, sees a cliff of
    height z at the edge of the image and reports false gradients there; replicate padding (ours, the default)
    does not.

    Args:
        logits: (…, H, W), floating-point array or tensor. Tensors stay differentiable; where the gradient
            vanishes its derivative is taken as 0.
        padding: "replicate", or "zeros" to reproduce the authors' version.

    Returns:
        (…, H, W), of the type and dtype of `logits`.

    Raises:
        TypeError: `logits` is not a floating-point array or tensor.
        ValueError: `logits` has fewer than two axes, or `padding` is unknown.

    Example:
        >>> row, column = np.mgrid[:5, :5].astype(float)
        >>> spatial_gradient(3 * row + 4 * column)[2, 2]
        np.float64(5.0)
    """
    _check(logits, padding)
    if isinstance(logits, np.ndarray):
        margins = [(0, 0)] * (logits.ndim - 2) + [(1, 1), (1, 1)]
        squared = _squared_gradient(np.pad(logits, margins, mode="edge" if padding == "replicate" else "constant"))
        return np.sqrt(squared, out=squared)
    stacked = logits.reshape(-1, *logits.shape[-2:])
    mode = "replicate" if padding == "replicate" else "constant"
    squared = _squared_gradient(functional.pad(stacked, (1, 1, 1, 1), mode=mode))
    return _root(squared).reshape(logits.shape)


def _squared_gradient(padded: Logits) -> Logits:
    """|∇z|² of fields with a margin of one pixel, written for arrays and tensors alike."""
    down = padded[..., 2:, :] - padded[..., :-2, :]
    down = _smooth(down[..., :-2], down[..., 1:-1], down[..., 2:])
    across = padded[..., 2:] - padded[..., :-2]
    across = _smooth(across[..., :-2, :], across[..., 1:-1, :], across[..., 2:, :])
    squared = down * down
    squared += across * across
    squared /= 64
    return squared


def _smooth(first: Logits, middle: Logits, last: Logits) -> Logits:
    total = first + last
    total += middle
    total += middle
    return total


def _root(squared: torch.Tensor) -> torch.Tensor:
    """Square root whose derivative at 0 is 0 instead of infinity."""
    flat = squared == 0
    return squared.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)


def _check(logits: ArrayLike, padding: str) -> None:
    if not isinstance(logits, np.ndarray | torch.Tensor):
        raise TypeError(
            f"`logits` is a {type(logits).__name__}, but a NumPy array or a torch tensor is needed: "
            "wrap it with `numpy.asarray(logits)`."
        )
    floating = logits.dtype.kind == "f" if isinstance(logits, np.ndarray) else logits.is_floating_point()
    if not floating:
        raise TypeError(
            f"`logits` has dtype {logits.dtype}, but a slope needs floating-point numbers: "
            "pass the raw output of the model, or `mask.astype(float)` if a mask is meant."
        )
    if logits.ndim < 2:
        raise ValueError(f"`logits` has shape {tuple(logits.shape)}, but (…, H, W) is needed: pass whole fields.")
    if padding not in ("replicate", "zeros"):
        raise ValueError(
            f'The padding {padding!r} is unknown: choose "replicate", or "zeros" to reproduce the authors\' version.'
        )
