"""Range and type checks of images before any model sees them."""

import numpy as np


def validate_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    """Return the image as uint8 (H, W, 3), or refuse it: a wrong range yields plausible nonsense further on.

    Args:
        image: uint8 (H, W, 3), or grey uint8 (H, W) or (H, W, 1), which is repeated over three channels; 0 …
            255.
        name: what to call the image in an error.

    Raises:
        TypeError: when it is not a numpy array, or its values are not uint8.
        ValueError: when its shape is not one of these, or a float image holds NaN or infinity.

    >>> validate_image(np.zeros((4, 6), np.uint8)).shape
    (4, 6, 3)
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{name} is a {type(image).__name__}; pass a numpy array of uint8, (H, W, 3).")
    _check_values(image, name)
    if image.size == 0:
        raise ValueError(f"{name} has shape {image.shape}, which holds no pixel; pass uint8 (H, W, 3).")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"{name} has shape {image.shape}; expected (H, W, 3) or grey (H, W). {_shape_hint(image)}")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _check_values(image: np.ndarray, name: str) -> None:
    if image.dtype == np.uint8:
        return
    found = f"{name} holds {image.dtype} values"
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"{found}, some of them NaN or infinite; repair them and convert to uint8, 0 … 255.")
    if image.dtype.kind not in "uif" or image.size == 0:
        raise TypeError(f"{found}; images are uint8, 0 … 255.")
    found += f" from {image.min():g} to {image.max():g}"
    if image.min() < 0:
        raise TypeError(f"{found}; images are uint8, 0 … 255. Undo the normalisation, then convert.")
    if image.dtype.kind == "f" and image.max() <= 1:
        raise TypeError(f"{found}; images are uint8, 0 … 255. Convert with np.round(255 * image).astype(np.uint8).")
    if image.max() <= 255:
        raise TypeError(f"{found}; images are uint8, 0 … 255. Convert with np.round(image).astype(np.uint8).")
    raise TypeError(f"{found}; images are uint8, 0 … 255. Choose an intensity window and rescale it to 0 … 255.")


def _shape_hint(image: np.ndarray) -> str:
    if image.ndim == 3 and image.shape[0] in (1, 3):
        return "Channels come last: use image.transpose(1, 2, 0)."
    if image.ndim == 3 and image.shape[2] == 4:
        return "Drop the opacity channel: image[..., :3]."
    if image.ndim == 4:
        return "Pass the images of a batch one by one."
    return "Convert it first."
