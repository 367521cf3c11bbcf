"""Making the kept weights do the work of the removed ones: no training, no labels."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from medlib.pruning.calibration import check_calibration
from medlib.pruning.compact import check_removal
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks
from medlib.pruning.moments import Moments, at_resolution
from medlib.pruning.removal_curve import regularised
from medlib.pruning.stages import EncoderStages

METHODS = ("reconstruct", "fold")


@torch.no_grad()
def compensate(
    encoder: nn.Module,
    masks: PruningMasks,
    calibration: Tensor,
    method: Literal["reconstruct", "fold"] = "reconstruct",
    ridge: float = 1e-3,
    token_weights: Tensor | None = None,
    progress: bool = False,
) -> nn.Module:
    """Re-solve what is kept so that the residual stream returns to the dense encoder's (ours).

    Front to back, every map that writes to the residual stream is solved anew on the calibration pictures. With x what
    the map reads in the pruned encoder, s the pruned stream it writes to and t the dense stream after it,

        "reconstruct":  min over W_K, b of  Σ ‖W_K x_K + b − (t − s)‖² + r ‖W_K − W_K⁰‖²,   r = ridge · mean Σ_ii
        "fold":         b ← b + W_S E[x_S]

    with K the kept inputs, S the removed ones and W⁰ the dense weights. Reconstruction therefore also takes back the
    error that arrives from earlier blocks. Reconstructing kept weights is the idea of Zenodo 20131680 and of optimal
    brain surgeon; the residual-stream target is ours.

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
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}. Use one of: {', '.join(METHODS)}.")
    if not ridge > 0:
        raise ValueError(f"ridge is {ridge}, but keeps the solution finite. Give a positive number, such as 1e-3.")
    check_removal(encoder_blocks(encoder), masks)
    check_calibration(encoder, calibration, token_weights)
    dense = EncoderStages(copy.deepcopy(encoder).eval())
    pruned = EncoderStages(copy.deepcopy(encoder).eval())
    streams = _Streams(dense, pruned, calibration, token_weights, method, ridge)
    for number, block in enumerate(tqdm(dense.layout, desc="compensating", disable=not progress)):
        streams.compensate_heads(number, masks.heads[number].repeat_interleave(block.head_dim) > 0)
        streams.compensate_channels(number, masks.channels[number] > 0)
    return pruned.encoder.train(encoder.training)


class _Streams:
    """The residual streams of the dense and the pruned encoder, one pair a picture, moved on block by block."""

    def __init__(
        self,
        dense: EncoderStages,
        pruned: EncoderStages,
        calibration: Tensor,
        token_weights: Tensor | None,
        method: str,
        ridge: float,
    ) -> None:
        self.dense, self.pruned, self.method, self.ridge = dense, pruned, method, ridge
        self.targets = [dense.stem(picture[None]) for picture in calibration]
        self.streams = list(self.targets)
        self.weights = [None] * len(calibration) if token_weights is None else list(token_weights[:, None])

    def compensate_heads(self, number: int, kept: Tensor) -> None:
        dense, pruned = self.dense.blocks[number], self.pruned.blocks[number]
        self.targets = [stream + dense.projection(dense.heads(stream)) for stream in self.targets]
        read = [pruned.heads(stream) for stream in self.streams]
        self._solve(pruned.projection, read, kept)
        written = zip(self.streams, read, strict=True)
        self.streams = [pruned.between(stream + pruned.projection(heads)) for stream, heads in written]
        self.targets = [dense.between(target) for target in self.targets]

    def compensate_channels(self, number: int, kept: Tensor) -> None:
        dense, pruned = self.dense.blocks[number], self.pruned.blocks[number]
        self.targets = [stream + dense.contraction(dense.channels(stream)) for stream in self.targets]
        read = [pruned.channels(stream) for stream in self.streams]
        self._solve(pruned.contraction, read, kept)
        written = zip(self.streams, read, strict=True)
        self.streams = [self.pruned.bridge(number, s + pruned.contraction(channels)) for s, channels in written]
        self.targets = [self.dense.bridge(number, target) for target in self.targets]

    def _solve(self, linear: nn.Linear, read: list[Tensor], kept: Tensor) -> None:
        """Give `linear` the weights that lead from the pruned streams to the targets."""
        moments = Moments(linear.in_features, linear.out_features)
        for inputs, stream, target, weights in zip(read, self.streams, self.targets, self.weights, strict=True):
            moments.add(inputs, target - stream, at_resolution(weights, stream))
        solve = _folded if self.method == "fold" else _reconstructed
        weight, bias = solve(linear, moments, kept, self.ridge)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def _folded(linear: nn.Linear, moments: Moments, kept: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    weight = linear.weight.double().cpu()
    return weight * kept, linear.bias.double().cpu() + weight[:, ~kept] @ moments.mean[~kept]


def _reconstructed(linear: nn.Linear, moments: Moments, kept: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    dense = linear.weight.double().cpu()
    covariance = moments.covariance[kept][:, kept]
    system = regularised(covariance, ridge)
    pull = (system - covariance) @ dense[:, kept].T
    weight = torch.zeros_like(dense)
    weight[:, kept] = torch.linalg.solve(system, moments.target_covariance[kept] + pull).T
    return weight, moments.target_mean - weight @ moments.mean
