"""What the boundary functions accept: masks of 0 and 1, and finite logits, as arrays or tensors."""

from typing import TypeAlias

import numpy as np
import torch

ArrayLike: TypeAlias = np.ndarray | torch.Tensor


def mask_array(mask: ArrayLike, name: str, dimensions: int = 2) -> np.ndarray:
    """The mask as a boolean array; it may share the caller's memory.

    Args:
        mask: (H, W), or (N, H, W) when `dimensions` is 3; bool, or integers that are all 0 or 1.
        name: What the caller calls it; used in the error.
        dimensions: Number of axes expected.

    Raises:
        TypeError: `mask` is not an array or tensor, or holds neither booleans nor integers.
        ValueError: Wrong number of axes, an empty axis, or integers other than 0 and 1.
    """
    array = _as_numpy(mask, name)
    _check_shape(array, name, dimensions)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` has dtype {array.dtype}, but a mask holds booleans: "
            f"threshold it first, for instance `{name} > 0` for logits or `{name} > 0.5` for probabilities."
        )
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > 1:
        raise ValueError(
            f"`{name}` holds integers from {lowest} to {highest}, but a mask holds 0 and 1 only: "
            f"pass `{name} > 0`, or `{name} == label` for one label of several."
        )
    return array.astype(bool)


def mask_pair(pred: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as boolean (H, W) arrays of one shape.

    Raises:
        TypeError: As `mask_array`.
        ValueError: As `mask_array`, or the two shapes differ.
    """
    first, second = mask_array(pred, "pred"), mask_array(target, "target")
    if first.shape != second.shape:
        raise ValueError(
            f"`pred` is {first.shape} and `target` is {second.shape}, but they must cover the same pixels: "
            "resize the logits to the target's size before thresholding them."
        )
    return first, second


def logit_array(logits: ArrayLike, name: str, dimensions: int) -> np.ndarray:
    """The logits as an array of their own precision, checked to be finite; it may share the caller's memory.

    Args:
        logits: (H, W), or (N, H, W) when `dimensions` is 3; floating point.
        name: What the caller calls it; used in the error.
        dimensions: Number of axes expected.

    Raises:
        TypeError: `logits` is not an array or tensor of floating-point numbers.
        ValueError: Wrong number of axes, an empty axis, or NaN or infinite values.
    """
    array = _as_numpy(logits, name)
    _check_shape(array, name, dimensions)
    if array.dtype.kind != "f":
        raise TypeError(
            f"`{name}` has dtype {array.dtype}, but logits are floating-point numbers before the sigmoid: "
            "pass the model's raw output, not a mask."
        )
    finite = np.isfinite(array)
    if not finite.all():
        count = finite.size - np.count_nonzero(finite)
        raise ValueError(
            f"`{name}` holds {count} NaN or infinite values, so no boundary can be located in it: "
            "check the model's input range and weights, or clip probabilities before taking their logit."
        )
    return array


def logit_pair(before: ArrayLike, after: ArrayLike, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Both logit arrays, of one shape.

    Raises:
        TypeError: As `logit_array`.
        ValueError: As `logit_array`, or the two shapes differ.
    """
    first, second = logit_array(before, "before", dimensions), logit_array(after, "after", dimensions)
    if first.shape != second.shape:
        raise ValueError(
            f"`before` is {first.shape} and `after` is {second.shape}, but a step compares the same images "
            "at the same size: run both models on the same batch."
        )
    return first, second


def _as_numpy(values: ArrayLike, name: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, np.ndarray):
        return values
    raise TypeError(
        f"`{name}` is a {type(values).__name__}, but a NumPy array or a torch tensor is needed: "
        f"wrap it with `numpy.asarray({name})`."
    )


def _check_shape(array: np.ndarray, name: str, dimensions: int) -> None:
    axes = {2: "(H, W)", 3: "(N, H, W)"}[dimensions]
    if array.ndim != dimensions:
        advice = "index or squeeze away the extra axes" if array.ndim > dimensions else "add the missing axis"
        raise ValueError(f"`{name}` has shape {array.shape}, but {axes} is needed: {advice}.")
    if array.size == 0:
        raise ValueError(f"`{name}` has shape {array.shape}, which holds no pixel: check how it was cropped.")
