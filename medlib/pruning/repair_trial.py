"""One calibration set put to use: which groups go, how the rest is repaired, and what the model then says."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from medlib.models import Preprocessing, Segmenter
from medlib.pruning.budgets import channel_floors
from medlib.pruning.compact import compact
from medlib.pruning.compensation import Compensator, Repair
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, masked
from medlib.pruning.moments import Moments
from medlib.pruning.pictures import Pictures
from medlib.pruning.reconstruction import ReconstructionCurves, reconstruction_curves
from medlib.pruning.removal_curve import RemovalCurve, removal_curve
from medlib.pruning.stages import EncoderStages
from medlib.store import ArtefactStore

_WORKERS = (
    Preprocessing, Segmenter, channel_floors, compact, Compensator, encoder_blocks, masked, Moments, Pictures,
    ReconstructionCurves, removal_curve, EncoderStages,
)  # fmt: skip


class RepairTrial:
    """Prune and repair one segmenter with one calibration set, for any number of budgets (ours).

    Curves and logits are kept in the store by content, so a second run computes neither.

    Args:
        model: the dense segmenter; it is left as it was.
        pictures: what the repaired models are shown.
        calibration: (N, 3, S, S) encoder inputs; see `compensate`.
        store: where curves and logits are kept.
        token_weights: (N, h, w) for curves and compensation; None counts all places alike.
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

    @cached_property
    def curves(self) -> ReconstructionCurves:
        """What removing groups would cost, on the calibration pictures; see `reconstruction_curves`."""

        def compute() -> dict[str, Tensor]:
            curves = reconstruction_curves(self._model.encoder, self._calibration, self._token_weights)
            kinds = {"heads": curves.heads, "channels": curves.channels}
            return {
                f"{kind} {b} {name}": getattr(curve, name)
                for kind, row in kinds.items()
                for b, curve in enumerate(row)
                for name in ("order", "error")
            }

        kept, blocks = self._fetch("reconstruction-curves", {}, compute), encoder_blocks(self._model.encoder)
        heads, channels = (
            tuple(
                RemovalCurve(kept[f"{kind} {b} order"], kept[f"{kind} {b} error"], getattr(block, kind))
                for b, block in enumerate(blocks)
            )
            for kind in ("heads", "channels")
        )
        parameters = sum(parameter.numel() for parameter in self._model.encoder.parameters())
        return ReconstructionCurves(heads, channels, blocks, parameters)

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
    def _compensator(self) -> Compensator:
        return Compensator(self._model.encoder, self._calibration, self._token_weights)

    def _fetch(self, name: str, inputs: dict[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        code = [sys.modules[worker.__module__] for worker in _WORKERS]
        return self._store.fetch(name, self._key | inputs, compute, code).tensors
