"""One calibration set put to use: which groups go, how the rest is repaired, and what the model then says."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from medlib.models import Preprocessing, Segmenter
from medlib.pruning.compact import compact
from medlib.pruning.compensation import Compensator, Repair
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, masked
from medlib.pruning.moments import Moments
from medlib.pruning.pictures import Pictures
from medlib.pruning.reconstruction import ReconstructionCurves, reconstruction_curves
from medlib.pruning.removal_curve import removal_curve
from medlib.pruning.stages import EncoderStages
from medlib.store import ArtefactStore

_WORKERS = (
    Preprocessing, Segmenter, compact, Compensator, encoder_blocks, masked, Moments, Pictures, ReconstructionCurves,
    removal_curve, EncoderStages,
)  # fmt: skip


class RepairTrial:
    """Prune and repair one segmenter with one calibration set, for any number of budgets (ours).

    Masks and logits are kept in the store by content, so a second run computes neither.

    Args:
        model: the dense segmenter; it is left as it was.
        pictures: what the repaired models are shown.
        calibration: (N, 3, S, S) encoder inputs; see `compensate`.
        store: where masks and logits are kept.
        token_weights: (N, h, w) for `select_by_reconstruction` and `compensate`; None counts all places alike.
    """

    def __init__(
        self,
        model: Segmenter,
        pictures: Pictures,
        calibration: Tensor,
        store: ArtefactStore,
        token_weights: Tensor | None = None,
    ) -> None:
        self._model, self._pictures, self._store = model, pictures, store
        self._calibration, self._token_weights = calibration, token_weights
        self._key = {
            "weights": model.digest(),
            "device": str(model.device),
            "calibration": calibration,
            "token weights": token_weights,
        }

    def select(self, budget: float) -> PruningMasks:
        """The masks of `select_by_reconstruction` for this share of the encoder's parameters."""

        def compute() -> dict[str, Tensor]:
            masks = self._curves.select(budget)
            heads = {f"heads {b}": gates for b, gates in enumerate(masks.heads)}
            return heads | {f"channels {b}": gates for b, gates in enumerate(masks.channels)}

        kept = self._fetch("reconstruction-masks", {"budget": budget}, compute)
        blocks = range(len(encoder_blocks(self._model.encoder)))
        return PruningMasks(tuple(kept[f"heads {b}"] for b in blocks), tuple(kept[f"channels {b}"] for b in blocks))

    def logits(self, masks: PruningMasks, repair: Literal["none"] | Repair) -> list[np.ndarray]:
        """Logits of the pruned model on the pictures, float32 (H, W) each.

        Args:
            masks: 1 keeps and 0 removes a group.
            repair: "none" leaves the kept weights as they are, "fold" and "reconstruct" as in `compensate`.
        """

        def compute() -> dict[str, Tensor]:
            logits = self._pictures.logits(compact(self.repaired(masks, repair), masks))
            return {str(number): torch.from_numpy(z) for number, z in enumerate(logits)}

        kept = self._fetch("repaired-logits", {"masks": masks, "repair": repair, **self._pictures.key}, compute)
        return [kept[str(number)].numpy() for number in range(len(kept))]

    def repaired(self, masks: PruningMasks, repair: Literal["none"] | Repair) -> nn.Module:
        """The encoder behind `logits`, still of full size."""
        return self._model.encoder if repair == "none" else self._compensator.solve(masks, repair)

    @cached_property
    def _curves(self) -> ReconstructionCurves:
        return reconstruction_curves(self._model.encoder, self._calibration, self._token_weights)

    @cached_property
    def _compensator(self) -> Compensator:
        return Compensator(self._model.encoder, self._calibration, self._token_weights)

    def _fetch(self, name: str, inputs: dict[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        code = [sys.modules[worker.__module__] for worker in _WORKERS]
        return self._store.fetch(name, self._key | inputs, compute, code).tensors
