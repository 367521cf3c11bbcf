"""First and second moments of what a linear map reads and of what it should write."""

import torch
from torch import Tensor
from torch.nn import functional


class Moments:
    """Running moments of inputs x and targets y over weighted tokens, summed in float64 on the CPU (ours).

    Args:
        inputs: length d of x.
        targets: length c of y; 0 when only the inputs matter.
    """

    def __init__(self, inputs: int, targets: int = 0) -> None:
        self._products = torch.zeros(inputs + 1, inputs + 1 + targets, dtype=torch.float64)
        self._inputs = inputs
        self._origin: Tensor | None = None

    def add(self, inputs: Tensor, targets: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Count one picture's tokens.

        Args:
            inputs: (N, H, W, d).
            targets: (N, H, W, c), or None when there are none.
            weights: (N, H, W) non-negative weight of each token; all 1 when None.
        """
        tokens = inputs.flatten(0, 2)
        if self._origin is None:
            self._origin = tokens.mean(0)  # products of numbers far from their mean would drown the covariance
        left = functional.pad(tokens - self._origin, (0, 1), value=1.0)
        right = left if targets is None else torch.cat([left, targets.flatten(0, 2)], dim=1)
        weighted = left if weights is None else left * weights.flatten()[:, None]
        self._products += (weighted.T @ right).double().cpu()

    @property
    def mean(self) -> Tensor:
        """E[x], float64 (d,)."""
        return self._origin.double().cpu() + self._normalised()[-1, : self._inputs]

    @property
    def target_mean(self) -> Tensor:
        """E[y], float64 (c,)."""
        return self._normalised()[-1, self._inputs + 1 :]

    @property
    def covariance(self) -> Tensor:
        """Cov[x, x], float64 (d, d)."""
        products = self._normalised()[:, : self._inputs]
        return products[:-1] - torch.outer(products[-1], products[-1])

    @property
    def target_covariance(self) -> Tensor:
        """Cov[x, y], float64 (d, c)."""
        products = self._normalised()
        return products[:-1, self._inputs + 1 :] - torch.outer(products[-1, : self._inputs], self.target_mean)

    def _normalised(self) -> Tensor:
        return self._products / self._products[-1, self._inputs]


def at_resolution(weights: Tensor | None, stream: Tensor) -> Tensor | None:
    """Token weights (N, h, w) averaged or repeated to the grid of a residual stream (N, H, W, C)."""
    if weights is None:
        return None
    return functional.interpolate(weights[:, None], size=stream.shape[1:3], mode="area")[:, 0].to(stream)
