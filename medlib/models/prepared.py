"""The segmenter a profile names: loaded, or trained once and kept in the artefact store."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from medlib.data import boxes, phantom_series, polyp_outline, polyp_phantoms, polyps, smooth_noise
from medlib.models import family, preprocessing, segmenter, training
from medlib.models.segmenter import Segmenter
from medlib.models.training import train_segmenter
from medlib.profiles import Segmentation
from medlib.store import ArtefactStore, content_digest

TRAINING_SEED = 7_000_000  # far from the seeds of the phantoms that notebooks show


def load_segmenter(settings: Segmentation, checkpoint: str = "", store: ArtefactStore | None = None) -> Segmenter:
    """The segmentation model of a profile, on the CPU and in evaluation mode.

    Args:
        settings: the profile's `segmentation`.
        checkpoint: path of a ViT-B checkpoint, for the profile that needs one.
        store: where a trained model is kept; the default store when None.

    Raises:
        ValueError: a checkpoint is missing, or given where none is used.
        FileNotFoundError: the checkpoint does not exist.
    """
    settings.check_checkpoint(checkpoint)
    if settings.model == "lite_medsam":
        return family.lite_medsam()
    if settings.model == "medsam_vit_b":
        return family.sam_vit_b(Path(checkpoint).expanduser(), medical=True)
    return _trained_tiny_sam(settings, store or ArtefactStore())


def _trained_tiny_sam(settings: Segmentation, store: ArtefactStore) -> Segmenter:
    """The tiny ViT-SAM, trained on phantoms that no notebook shows."""
    size, steps = settings.image_size, settings.training_steps
    start = family.tiny_sam(size=size, width=64, depth=2)

    def train() -> dict[str, Any]:
        samples = polyp_phantoms(48, size=size, seed=TRAINING_SEED)
        generator = np.random.default_rng(TRAINING_SEED)
        return train_segmenter(start, samples, steps, generator, learning_rate=2e-3, progress=True).network.state_dict()

    code = [
        sys.modules[__name__],
        family,
        preprocessing,
        segmenter,
        training,
        boxes,
        phantom_series,
        polyps,
        polyp_outline,
        smooth_noise,
    ]
    trained = store.fetch("tiny-sam", {"size": size, "steps": steps}, train, code)
    start.network.load_state_dict(trained.tensors)
    return start


def prepare_segmenter(settings: Segmentation) -> dict[str, Any]:
    """Train or load the profile's model now, and say which one it is.

    Returns:
        model, parameters, and the digest of its weights; or, where the reader brings the checkpoint, that.
    """
    if settings.model == "medsam_vit_b":
        return {"model": settings.model, "weights": "the reader's checkpoint"}
    network = load_segmenter(settings).network
    count = sum(parameter.numel() for parameter in network.parameters())
    return {"model": settings.model, "parameters": count, "digest": content_digest(network.state_dict())}
