"""Making the kept weights do the work of the removed ones: no training, no labels."""

import copy
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from medlib.pruning.calibration import check_calibration
from medlib.pruning.compact import check_removal
from medlib.pruning.masks import PruningMasks
from medlib.pruning.moments import Moments, at_resolution
from medlib.pruning.removal_curve import regularised
from medlib.pruning.stages import EncoderStages

Repair = Literal["reconstruct", "fold"]


def compensate(
    encoder: nn.Module,
    masks: PruningMasks,
    calibration: Tensor,
    method: Repair = "reconstruct",
    ridge: float = 1e-3,
    token_weights: Tensor | None = None,
    progress: bool = False,
) -> nn.Module:
    """Re-solve what is kept so that the residual stream returns to the dense encoder's (ours).

    Front to back, every map that writes to the residual stream is solved anew on the calibration pictures. With x what
    the map reads in the pruned encoder, s the pruned stream it writes to and t the dense stream after it,

        "reconstruct":  min over W_K, b of  E ‖W_K x_K + b − (t − s)‖² + r ‖W_K − W_K⁰‖²,   r = ridge · mean Var x_K
        "fold":         b ← b + W_S E[x_S]

    with E the mean over all tokens, K the kept inputs, S the removed ones and W⁰ the dense weights. Reconstruction
    therefore also takes back the error that arrives from earlier blocks. Reconstructing kept weights is the idea of
    Zenodo 20131680 and of optimal brain surgeon; the residual-stream target is ours. `Compensator` does the same for
    many masks.

    Args:
        encoder: the dense encoder; it is left as it was.
        masks: 1 keeps and 0 removes a group; something must stay in every block.
        calibration: (N, 3, S, S) encoder inputs.
        method: "reconstruct" (least squares) or "fold" (the mean of what was removed goes into the bias).
        ridge: strength of the pull to the dense weights, positive; unused by "fold".
        token_weights: (N, h, w) non-negative; how much each place of each picture counts; all alike when None.
        progress: show a bar on stderr.

    Returns:
        An encoder of the same shape in which nothing reads the removed groups; `compact` makes it small.

    Raises:
        ValueError: masks, calibration or weights that cannot be used, an unknown method, or a ridge not above 0.
    """
    return Compensator(encoder, calibration, token_weights).solve(masks, method, ridge, progress)


class Compensator:
    """Compensation of one encoder on one calibration, for any number of masks.

    What the dense encoder makes of the pictures is computed once and kept: about 90 MB a picture for LiteMedSAM.

    Args:
        encoder: see `compensate`; likewise below.
        calibration: (N, 3, S, S) encoder inputs.
        token_weights: (N, h, w), or None.

    Raises:
        ValueError: see `compensate`.
    """

    @torch.no_grad()
    def __init__(self, encoder: nn.Module, calibration: Tensor, token_weights: Tensor | None = None) -> None:
        check_calibration(encoder, calibration, token_weights)
        self._encoder = copy.deepcopy(encoder).eval()
        self._training = encoder.training
        self._dense = EncoderStages(self._encoder)
        self._stems = [self._dense.stem(picture[None]) for picture in calibration]
        self._weights = [None] * len(calibration) if token_weights is None else list(token_weights[:, None])
        self._targets = [self._dense_targets(stem) for stem in self._stems]

    @torch.no_grad()
    def solve(
        self, masks: PruningMasks, method: Repair = "reconstruct", ridge: float = 1e-3, progress: bool = False
    ) -> nn.Module:
        """The compensated encoder for these masks; see `compensate`."""
        if method not in get_args(Repair):
            raise ValueError(f"unknown method {method!r}. Use one of: {', '.join(get_args(Repair))}.")
        if not ridge > 0:
            raise ValueError(f"ridge is {ridge}, but keeps the solution finite. Give a positive number, such as 1e-3.")
        check_removal(self._dense.layout, masks)
        pruned, streams = EncoderStages(copy.deepcopy(self._encoder)), list(self._stems)
        for number, block in enumerate(tqdm(self._dense.layout, desc="compensating", disable=not progress)):
            halves = pruned.blocks[number]
            kept_heads = masks.heads[number].cpu().repeat_interleave(block.head_dim) > 0
            read = [halves.heads(stream) for stream in streams]
            self._solve_map(halves.projection, read, streams, 2 * number, kept_heads, method, ridge)
            streams = [halves.between(s + halves.projection(x)) for s, x in zip(streams, read, strict=True)]
            read = [halves.channels(stream) for stream in streams]
            self._solve_map(
                halves.contraction, read, streams, 2 * number + 1, masks.channels[number].cpu() > 0, method, ridge
            )
            streams = [pruned.bridge(number, s + halves.contraction(x)) for s, x in zip(streams, read, strict=True)]
        return pruned.encoder.train(self._training)

    def _dense_targets(self, stream: Tensor) -> list[Tensor]:
        """The dense stream of one picture after each of the maps that write to it, in turn."""
        targets = []
        for number, halves in enumerate(self._dense.blocks):
            targets.append(stream + halves.projection(halves.heads(stream)))
            stream = halves.between(targets[-1])
            targets.append(stream + halves.contraction(halves.channels(stream)))
            stream = self._dense.bridge(number, targets[-1])
        return targets

    def _solve_map(
        self,
        linear: nn.Linear,
        read: list[Tensor],
        streams: list[Tensor],
        place: int,
        kept: Tensor,
        method: Repair,
        ridge: float,
    ) -> None:
        """Give a map the weights that lead from the pruned streams to the dense ones after it."""
        moments = Moments(linear.in_features, linear.out_features)
        for inputs, stream, targets, weights in zip(read, streams, self._targets, self._weights, strict=True):
            moments.add(inputs, targets[place] - stream, at_resolution(weights, stream))
        weight, bias = _folded(linear, moments, kept) if method == "fold" else _refit(linear, moments, kept, ridge)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def _folded(linear: nn.Linear, moments: Moments, kept: Tensor) -> tuple[Tensor, Tensor]:
    weight = linear.weight.double().cpu()
    return weight * kept, linear.bias.double().cpu() + weight[:, ~kept] @ moments.mean[~kept]


def _refit(linear: nn.Linear, moments: Moments, kept: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    dense = linear.weight.double().cpu()
    covariance = moments.covariance[kept][:, kept]
    system = regularised(covariance, ridge)
    pull = (system - covariance) @ dense[:, kept].T
    weight = torch.zeros_like(dense)
    weight[:, kept] = torch.linalg.solve(system, moments.target_covariance[kept] + pull).T
    return weight, moments.target_mean - weight @ moments.mean
