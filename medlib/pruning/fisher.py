"""The boundary-aware Fisher information of an encoder's parameters: how much the loss minds a change of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medlib.boundary import square_band
from medlib.data import SegmentationSample, SegmentationSet, boxes_from_masks
from medlib.models import Preprocessing, Segmenter
from medlib.pruning.groups import Block


@dataclass(frozen=True, eq=False)
class Fisher(Mapping[str, Tensor]):
    """Diagonal Fisher information, keyed by the encoder's parameter names.

    Attributes:
        tensors: parameter name → tensor of that parameter's shape, ≥ 0.
        used: samples that were averaged.
        skipped: samples left out because their loss or gradients were not finite.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    used: int
    skipped: int

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def boundary_loss(logits: Tensor, mask: Tensor, boundary_weight: float = 3.0) -> Tensor:
    """The loss of one sample whose gradients make the Fisher information (MedCore).

    With p = σ(z), and the band B = 3×3 dilation minus 3×3 erosion of the mask y,

        L = Σ_pixels (1 + w B) BCE(z, y) + 1 − (2 Σ p y + 10⁻⁵) / (Σ p² + Σ y² + 10⁻⁵).

    The cross-entropy is a sum over pixels, so L grows with the area of the image. Outside of the image counts as
    foreground in the erosion: where the lesion leaves the image there is no boundary.

    Args:
        logits: (h, w) low-resolution logits.
        mask: bool (h, w) on the same pixels.
        boundary_weight: w, 0 or above; 0 treats all pixels alike.

    Raises:
        ValueError: `boundary_weight` is negative or not finite, or the shapes differ.

    >>> mask = torch.zeros(4, 4, dtype=torch.bool); mask[1:3, 1:3] = True
    >>> round(float(boundary_loss(torch.zeros(4, 4), mask, 0.0)), 4)  # 16 ln 2 + 1 − 4 / (4 + 4)
    11.5904
    """
    if not 0 <= boundary_weight < np.inf:
        raise ValueError(
            f"boundary_weight is {boundary_weight}, but is added to the weight 1 of each boundary pixel. "
            "Give 0 or a positive number; MedCore uses 3."
        )
    if logits.shape != mask.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and mask {tuple(mask.shape)} differ in shape. Bring the mask to the "
            "pixels of the logits with `low_resolution_mask`."
        )
    target = mask.to(logits)
    band = torch.from_numpy(square_band(mask.cpu(), radius=1, outside="foreground")).to(logits)
    cross_entropy = functional.binary_cross_entropy_with_logits(
        logits, target, weight=1 + boundary_weight * band, reduction="sum"
    )
    probability = torch.sigmoid(logits)
    overlap, sizes = (probability * target).sum(), probability.square().sum() + target.square().sum()
    return cross_entropy + 1 - (2 * overlap + 1e-5) / (sizes + 1e-5)


def low_resolution_mask(preprocessing: Preprocessing, mask: np.ndarray, size: Sequence[int]) -> Tensor:
    """The mask on the pixels of the low-resolution logits: those that the lesion covers by half or more (ours).

    Args:
        preprocessing: how the segmenter scales and pads its input.
        mask: bool (H, W).
        size: (h, w) of the logits.

    Returns:
        bool (h, w).
    """
    return functional.adaptive_avg_pool2d(preprocessing.mask(mask)[None], tuple(size))[0] >= 0.5


def boundary_fisher(
    model: Segmenter, samples: SegmentationSet, boundary_weight: float = 3.0, progress: bool = False
) -> Fisher:
    """Diagonal Fisher information of the encoder: F_i = mean over samples of (∂L/∂θ_i)² (MedCore).

    Samples are taken one at a time; L is `boundary_loss`; the boxes are those of the masks, without jitter. The
    attention biases of TinyViT get 0: in evaluation mode it reads them from a cached copy that no gradient reaches. So
    they add nothing to a head's scores, as the relative positions of SAM's ViT, which belong to no group, do not.

    Args:
        model: the segmenter; it comes back as it was, gradients included.
        samples: images with masks, none of them empty.
        boundary_weight: extra weight of boundary pixels; 0 gives the Fisher information without boundary.
        progress: show a bar on stderr.

    Returns:
        One tensor for each encoder parameter, on the model's device.

    Raises:
        ValueError: a mask is empty, also at low resolution; `boundary_weight` is out of range; or no sample has finite
            gradients.
    """
    sums = {name: torch.zeros_like(parameter.detach()) for name, parameter in model.encoder.named_parameters()}

    def accumulate(gradients: Mapping[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            sums[name].addcmul_(gradient, gradient)

    used, skipped = visit_gradients(model, samples, accumulate, boundary_weight, progress)
    for total in sums.values():
        total.div_(used)
    return Fisher(sums, used, skipped)


def visit_gradients(
    model: Segmenter,
    samples: SegmentationSet,
    visit: Callable[[Mapping[str, Tensor]], None],
    boundary_weight: float = 3.0,
    progress: bool = False,
) -> tuple[int, int]:
    """Hand the encoder's gradients of `boundary_loss` to `visit`, one sample after another.

    Args:
        model: the segmenter; it comes back as it was, gradients included.
        samples: images with masks, none of them empty.
        visit: called with parameter name → gradient; the tensors are only valid during the call.
        boundary_weight: see `boundary_loss`.
        progress: show a bar on stderr.

    Returns:
        Samples visited, and samples skipped because their loss or gradients were not finite.

    Raises:
        ValueError: see `boundary_fisher`.
    """
    boxes, used = boxes_from_masks(samples.masks, names=samples.names), 0
    parameters = dict(model.encoder.named_parameters())
    with _encoder_gradients(model):
        for sample, box in zip(tqdm(samples, desc="gradients", disable=not progress), boxes, strict=True):
            loss = _sample_loss(model, sample, box, boundary_weight)
            loss.backward()
            gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            if _all_finite(loss.detach(), *gradients.values()):
                visit(gradients)
                used += 1
            del gradients  # with `zero_grad`, frees them before the next sample needs its memory
            model.encoder.zero_grad(set_to_none=True)
    if not used:
        raise ValueError(
            f"none of the {len(samples)} samples has finite gradients, so there is no mean to take. Look for NaN or "
            "infinite values in the model's weights."
        )
    return used, len(samples) - used


def _all_finite(*tensors: Tensor) -> bool:
    """Whether every number is finite, and the tensors' norms with them, without a copy of any tensor."""
    return bool(torch.stack([tensor.norm() for tensor in tensors]).isfinite().all())


def _sample_loss(model: Segmenter, sample: SegmentationSample, box: np.ndarray, boundary_weight: float) -> Tensor:
    embedding = model.encoder(model.inputs([sample.image]))
    logits = model.decode(embedding, model.boxes([sample.image], box[None]))[0]
    mask = low_resolution_mask(model.preprocessing, sample.mask, logits.shape)
    if not mask.any():
        raise ValueError(
            f"the lesion of {sample.name} covers no pixel of the {len(mask)} × {len(mask)} logits by half, so its mask "
            "is empty there. Leave this sample out."
        )
    return boundary_loss(logits, mask, boundary_weight)


@contextmanager
def _encoder_gradients(model: Segmenter) -> Iterator[None]:
    """Let gradients reach the encoder's parameters only, in evaluation mode; put everything back afterwards."""
    network, inside = model.network, {id(parameter) for parameter in model.encoder.parameters()}
    states = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        for parameter, _, _ in states:
            parameter.requires_grad_(id(parameter) in inside)
            parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for parameter, required, gradient in states:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        for module, training in modes:  # parents come first, so a part with a mode of its own gets it back
            if module.training != training:
                module.train(training)


def cross_fisher(adapted: Fisher, reference: Fisher) -> Fisher:
    """The geometric mean √(F^M F^S + 10⁻³⁰) of two Fisher informations (MedCore).

    Args:
        adapted: F^M, of the adapted (medical) weights.
        reference: F^S, of the weights it started from, on the same images.

    Returns:
        `used` is the smaller and `skipped` the larger of the two.

    Raises:
        ValueError: the two belong to different encoders.

    >>> one, four = (Fisher({"w": torch.tensor([value])}, used=1, skipped=0) for value in (1.0, 4.0))
    >>> cross_fisher(one, four)["w"]
    tensor([2.])
    """
    shapes = [{name: tuple(value.shape) for name, value in fisher.items()} for fisher in (adapted, reference)]
    if shapes[0] != shapes[1]:
        name = next(n for n in shapes[0] | shapes[1] if shapes[0].get(n) != shapes[1].get(n))
        raise ValueError(
            f"the two Fisher informations belong to different encoders: {name} is {shapes[0].get(name, 'missing')} in "
            f"one and {shapes[1].get(name, 'missing')} in the other. Measure both on the same architecture."
        )
    return Fisher(
        {name: (value * reference[name]).add_(1e-30).sqrt_() for name, value in adapted.items()},
        min(adapted.used, reference.used),
        max(adapted.skipped, reference.skipped),
    )


def block_sensitivity(blocks: Sequence[Block], fisher: Mapping[str, Tensor]) -> list[float]:
    """Sum of the Fisher information over all parameters of each block, which `allocate` shares a budget by (MedCore).

    Args:
        blocks: see `encoder_blocks`.
        fisher: see `boundary_fisher`.
    """
    return [
        sum(value.double().sum().item() for name, value in fisher.items() if name.startswith(f"{block.name}."))
        for block in blocks
    ]
