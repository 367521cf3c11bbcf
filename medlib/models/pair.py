"""A general segmenter and its medical adaptation: SAM → MedSAM, as a tiny pair trained here or as ViT-B checkpoints."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medlib.data import (
    SegmentationSet,
    boxes,
    dermoscopy,
    medical_phantoms,
    modalities,
    phantom_series,
    polyp_outline,
    polyps,
    radial_outline,
    shape_scenes,
    shapes,
    smooth_noise,
    ultrasound,
)
from medlib.models import family, preprocessing, segmenter, training
from medlib.models.segmenter import Segmenter
from medlib.models.training import train_segmenter
from medlib.profiles import Pruning
from medlib.store import ArtefactStore, content_digest

TRAINING_SEED = 8_000_000  # far from the seeds of the phantoms that notebooks show
LEARNING_RATE = 1.5e-3


@dataclass(frozen=True)
class SegmenterPair:
    """Two segmenters of one architecture, on the CPU and in evaluation mode.

    Attributes:
        reference: the general one (SAM).
        adapted: the same after training on medical images (MedSAM).
    """

    reference: Segmenter
    adapted: Segmenter


def load_pair(
    settings: Pruning, seed: int = 0, checkpoint: str = "", reference: str = "", store: ArtefactStore | None = None
) -> SegmenterPair:
    """The pair of a profile: loaded, or trained once and kept in the artefact store.

    A trained pair learns generic coloured shapes first and three medical-looking modalities after that, with the prompt
    encoder frozen in the second stage. All adaptation seeds share one reference.

    Args:
        settings: the profile's `pruning`.
        seed: names the adaptation: its phantoms, batches and box jitter; of no effect on loaded weights.
        checkpoint: path of `medsam_vit_b.pth`, for the profile that needs one.
        reference: path of `sam_vit_b_01ec64.pth`, likewise.
        store: where a trained pair is kept; the default store when None.

    Raises:
        ValueError: a checkpoint is missing, does not fit, or is given where none is used.
        FileNotFoundError: a checkpoint does not exist.
    """
    settings.check_pair(checkpoint, reference)
    if settings.pair == "vit_b":
        return SegmenterPair(
            family.sam_vit_b(Path(reference).expanduser()),
            family.sam_vit_b(Path(checkpoint).expanduser(), medical=True),
        )
    store = store or ArtefactStore()
    general = _trained_reference(settings, store)
    return SegmenterPair(general, _trained_adaptation(settings, general, seed, store))


def prepare_pair(settings: Pruning) -> dict[str, Any]:
    """Train or load every adaptation of the profile now, and say which they are.

    Returns:
        pair, parameters, and the digests of the weights; or, where the reader brings the checkpoints, that.
    """
    if settings.pair == "vit_b":
        return {"pair": settings.pair, "weights": "the reader's checkpoints"}
    pairs = [load_pair(settings, seed) for seed in range(settings.adaptation_seeds)]
    general = pairs[0].reference.network
    return {
        "pair": settings.pair,
        "parameters": sum(parameter.numel() for parameter in general.parameters()),
        "reference": content_digest(general.state_dict()),
        "adapted": [content_digest(pair.adapted.network.state_dict()) for pair in pairs],
    }


def _trained_reference(settings: Pruning, store: ArtefactStore) -> Segmenter:
    start = family.tiny_sam(size=settings.image_size, width=48, neck=32)

    def train() -> dict[str, Any]:
        scenes = shape_scenes(settings.training_images, settings.image_size, TRAINING_SEED)
        generator = np.random.default_rng(TRAINING_SEED)
        return _train(start, scenes, settings.reference_steps, settings, generator).network.state_dict()

    inputs = _shared_inputs(settings) | {"steps": settings.reference_steps}
    return _loaded(start, store.fetch("pair-reference", inputs, train, _code()).tensors)


def _trained_adaptation(settings: Pruning, general: Segmenter, seed: int, store: ArtefactStore) -> Segmenter:
    start = family.tiny_sam(size=settings.image_size, width=48, neck=32)

    def train() -> dict[str, Any]:
        phantoms = medical_phantoms(settings.training_images // 3, settings.image_size, TRAINING_SEED + 1 + seed)
        pooled = SegmentationSet.from_samples([s for some in phantoms.values() for s in some], "the training phantoms")
        generator = np.random.default_rng([TRAINING_SEED, seed])
        steps = settings.adaptation_steps
        return _train(general, pooled, steps, settings, generator, freeze_prompts=True).network.state_dict()

    inputs = _shared_inputs(settings) | {
        "reference": general.digest(),
        "steps": settings.adaptation_steps,
        "seed": seed,
    }
    return _loaded(start, store.fetch("pair-adapted", inputs, train, _code()).tensors)


def _train(
    start: Segmenter,
    samples: SegmentationSet,
    steps: int,
    settings: Pruning,
    generator: np.random.Generator,
    freeze_prompts: bool = False,
) -> Segmenter:
    return train_segmenter(
        start,
        samples,
        steps,
        generator,
        learning_rate=LEARNING_RATE,
        box_jitter=settings.box_jitter,
        freeze_prompts=freeze_prompts,
        progress=True,
    )


def _shared_inputs(settings: Pruning) -> dict[str, int]:
    return {"size": settings.image_size, "images": settings.training_images, "jitter": settings.box_jitter}


def _loaded(start: Segmenter, tensors: dict[str, Any]) -> Segmenter:
    start.network.load_state_dict(tensors)
    return start


def _code() -> list[Any]:
    """Every module whose source decides the weights."""
    data = [shapes, modalities, phantom_series, polyps, polyp_outline, radial_outline, ultrasound, dermoscopy]
    return [sys.modules[__name__], family, preprocessing, segmenter, training, boxes, smooth_noise, *data]
