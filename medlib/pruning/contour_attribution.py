"""How far each attention head holds the contour: foretold by one backward pass, and measured by taking heads away."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medlib.boundary import displacements
from medlib.models import Segmenter
from medlib.pruning.gated_logits import gated_logits
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks
from medlib.store import ArtefactStore


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


@dataclass(frozen=True, eq=False)
class HeadRemoval:
    """What happened to a contour when heads were taken away one by one.

    Attributes:
        pixels: (heads, shares) mean displacement divided by the share removed; positive where the contour retreats.
        lost: (heads, shares) share of the contour points that were not found again.
    """

    pixels: np.ndarray
    lost: np.ndarray


def remove_heads(
    segmenter: Segmenter,
    image: np.ndarray,
    box: np.ndarray,
    heads: Sequence[tuple[int, int]],
    shares: Sequence[float],
    store: ArtefactStore,
    progress: bool = False,
) -> HeadRemoval:
    """Take single heads away, in part or wholly, and measure how far the contour moves (ours).

    Args:
        segmenter: the model; it is left as it was.
        image: uint8 (H, W, 3).
        box: (4,) XYXY in pixels.
        heads: (block, head) positions, as `encoder_blocks` counts them.
        shares: parts of a head to remove, in (0, 1].
        store: where the logits are kept.
        progress: show a bar on stderr.

    Raises:
        ValueError: the model draws no contour in the box; see `displacements`.
    """
    picture = ([image], np.asarray(box)[None], store)
    intact = PruningMasks.keep_all(segmenter.encoder)
    before = gated_logits(segmenter, intact, *picture)[0]
    pixels, lost = np.empty((len(heads), len(shares))), np.empty((len(heads), len(shares)))
    for row, (block, head) in enumerate(tqdm(heads, desc="removing heads", disable=not progress)):
        masks = PruningMasks.keep_all(segmenter.encoder)
        masks.heads[block][head] = 0
        for column, share in enumerate(shares):
            measured = displacements(before, gated_logits(segmenter, masks.weakened(share), *picture)[0])[1]
            pixels[row, column] = np.nanmean(measured.pixels) / share
            lost[row, column] = measured.lost.mean()
    return HeadRemoval(pixels, lost)
