"""What calibration pictures must be before anything is computed on them."""

import torch
from torch import Tensor, nn

from medlib.pruning.groups import encoder_blocks


def check_calibration(encoder: nn.Module, calibration: Tensor, token_weights: Tensor | None) -> None:
    """Raise TypeError or ValueError unless these are inputs of a SAM-family encoder, and weights that fit them.

    Args:
        encoder: see `encoder_blocks`.
        calibration: (N, 3, S, S), finite, at least one picture, of the size the encoder takes.
        token_weights: (N, h, w), finite, non-negative and not all zero in any picture; or None.
    """
    encoder_blocks(encoder)  # refuses another kind of encoder
    size = encoder.img_size
    if calibration.ndim != 4 or len(calibration) == 0 or calibration.shape[1:] != (3, size, size):
        raise ValueError(
            f"the calibration has shape {tuple(calibration.shape)}, but this encoder reads (N, 3, {size}, {size}). "
            "Make it with Segmenter.inputs from at least one image."
        )
    if not bool(torch.isfinite(calibration).all()):
        raise ValueError("the calibration holds NaN or infinite values. Take the broken pictures out.")
    if token_weights is None:
        return
    if token_weights.ndim != 3 or len(token_weights) != len(calibration):
        raise ValueError(
            f"the token weights have shape {tuple(token_weights.shape)} for {len(calibration)} pictures. "
            "Give (N, h, w)."
        )
    usable = torch.isfinite(token_weights).all() and bool((token_weights >= 0).all())
    if not usable or bool((token_weights.flatten(1).sum(1) == 0).any()):
        raise ValueError("token weights must be finite and non-negative, and not all zero in a picture. Check them.")
