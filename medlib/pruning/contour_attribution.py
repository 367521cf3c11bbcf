"""How far each attention head holds the contour: boundary leverage as an attribution, from one backward pass."""

import numpy as np
import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor
from torch.nn import functional

from medlib.models import Segmenter
from medlib.pruning.groups import encoder_blocks


def head_displacements(
    segmenter: Segmenter, image: np.ndarray, box: np.ndarray, points: np.ndarray, slopes: np.ndarray
) -> tuple[Tensor, ...]:
    """Predict, for every head, how far the contour moves on average when the head is removed (ours).

    Removing head h changes the logits by Δz ≈ −Σ a ∂z/∂a over its outputs a. With the first-order displacement
    −Δz/|∇z| of MedCore, averaged over K contour points,

        d_h ≈ Σ_a a · ∂/∂a [ (1/K) Σ_k z(p_k) / |∇z(p_k)| ],

    which is gradient × activation of one scalar, for all heads at once.

    Args:
        segmenter: the model; it is left as it was.
        image: uint8 (H, W, 3).
        box: (4,) XYXY in pixels.
        points: (K, 2) row and column of the contour, in pixels.
        slopes: (K,) |∇z| there, in logits per pixel.

    Returns:
        One tensor (heads,) a block, in pixels; positive where removing the head makes the contour retreat.
    """
    network, blocks = segmenter.network, encoder_blocks(segmenter.encoder)
    height, width = image.shape[:2]
    prompt = segmenter.boxes([image], np.asarray(box)[None])
    scale = torch.tensor([width, height], dtype=torch.float32)
    grid = (2 * torch.from_numpy(points[:, ::-1].copy()).float() + 1) / scale - 1
    weights = torch.from_numpy(1.0 / (len(slopes) * slopes)).float().to(segmenter.device)

    def mean_retreat(inputs: Tensor) -> Tensor:
        low = segmenter.decode(segmenter.encoder(inputs), prompt)
        logits = segmenter.preprocessing.restore(low, height, width)
        sampled = functional.grid_sample(
            logits[None],
            grid.to(logits)[None, None],
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return (sampled.flatten() * weights).sum()[None]

    layers = [network.image_encoder.get_submodule(block.projection) for block in blocks]
    attribution = LayerGradientXActivation(mean_retreat, layers, multiply_by_inputs=True)
    parts = attribution.attribute(segmenter.inputs([image]), attribute_to_layer_input=True)
    return tuple(
        part.detach().reshape(-1, block.heads, block.head_dim).sum((0, 2)).cpu()
        for block, part in zip(blocks, parts, strict=True)
    )
