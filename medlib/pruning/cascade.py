"""The cascade: heads, recovery, MLP channels, recovery, with every stage kept."""

import copy
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medlib.data import SegmentationSet
from medlib.models import Segmenter
from medlib.pruning import (
    budgets,
    cascade_scores,
    compensation,
    fine_tuning,
    fisher,
    groups,
    moments,
    recovery,
    regrowth,
    removal_curve,
    rival_scores,
    scores,
    stages,
)
from medlib.pruning import masks as masking
from medlib.pruning.budgets import Rule, allocate, channel_floors, select
from medlib.pruning.cascade_folder import CascadeFolder
from medlib.pruning.cascade_scores import WITH_REFERENCE, Method, check_method, method_scores
from medlib.pruning.compensation import compensate
from medlib.pruning.fine_tuning import fine_tune
from medlib.pruning.fisher import Fisher, boundary_fisher
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks, removed_parameters
from medlib.pruning.recovery import recover
from medlib.pruning.regrowth import baked
from medlib.store import content_digest

_CODE = (
    sys.modules[__name__], budgets, cascade_scores, compensation, fine_tuning, fisher, groups, masking, moments,
    recovery, regrowth, removal_curve, rival_scores, scores, stages,
)  # fmt: skip
Kind = Literal["heads", "channels"]
Compensation = Literal["fold", "reconstruct"]


@dataclass(frozen=True, eq=False)
class CascadeStage:
    """One finished stage.

    Attributes:
        name: what was done, such as "heads" or "recovery after heads".
        masks: the gates after it.
        removed: parameters of removed groups, as a share of the encoder's.
    """

    name: str
    masks: PruningMasks
    removed: float


@dataclass(frozen=True, eq=False)
class CascadeResult:
    """A pruned segmenter.

    Attributes:
        model: with its final weights, without masks: run it under `masked`, or `compact` it.
        masks: 1 keeps a group, 0 removes it.
        stages: what was done, in order.
    """

    model: Segmenter
    masks: PruningMasks
    stages: tuple[CascadeStage, ...]


@dataclass(frozen=True)
class _Plan:
    """The options of a cascade; see `cascade`."""

    head_budget: float
    mlp_budget: float
    method: Method
    weights: Mapping[str, float]
    beta: float
    rule: Rule
    protected_blocks: int
    last_blocks: tuple[float, float] | None
    compensation: Compensation | None
    recovery_steps: int
    learning_rate: float
    fine_tuning_epochs: int
    seed: int


@dataclass(frozen=True, eq=False)
class _State:
    """A cascade between two stages; `alpha` is known once the first heads are scored."""

    model: Segmenter
    masks: PruningMasks
    alpha: Tensor | None = None


def cascade(
    model: Segmenter,
    reference: Segmenter,
    samples: SegmentationSet | Mapping[str, SegmentationSet],
    head_budget: float,
    mlp_budget: float,
    *,
    method: Method = "dual",
    weights: Mapping[str, float] | None = None,
    beta: float = 0.3,
    rule: Rule = "waterfill",
    protected_blocks: int = 0,
    last_blocks: tuple[float, float] | None = None,
    compensation: Compensation | None = None,
    recovery_steps: int = 100,
    learning_rate: float = 1e-5,
    fine_tuning_epochs: int = 0,
    calibration_images: int | None = None,
    seed: int = 0,
    directory: Path | None = None,
    progress: bool = False,
) -> CascadeResult:
    """Prune heads, recover, prune MLP channels, recover (MedCore).

    Channels are scored on the recovered model with its head masks on, with the mixing weights α that the heads gave.
    The teacher of every recovery is the model as it was handed in, and masks stay on from the stage that set them.

    Args:
        model: the adapted segmenter; it is left unchanged.
        reference: the segmenter that it was adapted from, for the resetting score.
        samples: calibration images with masks; for several datasets, name → set: each is scored by itself, and recovery
            draws from all of them together.
        head_budget: share of all heads of the encoder to remove, in [0, 1), protected blocks counted in.
        mlp_budget: share of all MLP channels of the encoder to remove, likewise.
        method: score of the groups; see `method_scores`.
        weights: π of each dataset, with sum 1; equal when None.
        beta: weight of the variance of scores between datasets.
        rule: how a budget is shared out over the blocks; see `allocate`.
        protected_blocks: how many of the last blocks keep all their groups.
        last_blocks: (head budget, MLP budget) of a second pass over the protected blocks alone, again as shares of the
            whole encoder; None for no second pass.
        compensation: how kept weights make up for removed groups before each recovery; see `compensate`.
        recovery_steps: optimiser steps of each recovery; 0 leaves recovery out.
        learning_rate: of recovery.
        fine_tuning_epochs: most epochs of fine-tuning at the end; 0 leaves it out.
        calibration_images: use the first so many of each dataset; all when None.
        seed: of random scores, recovery and fine-tuning; each stage has a generator of its own.
        directory: where finished stages are kept. A run that was stopped goes on from there, and ends with the same
            weights, bit by bit, as one that was not.
        progress: show bars on stderr.

    Raises:
        ValueError: a budget is out of range or above what may go, a dataset is smaller than the calibration size, the
            weights do not fit the datasets, the two encoders differ in architecture, an option is unknown or out of
            range, or the directory belongs to another configuration or is damaged. Nothing was computed.
    """
    check_method(method)
    named = {samples.source: samples} if isinstance(samples, SegmentationSet) else samples
    chosen = _calibration(named, calibration_images)
    plan = _Plan(
        head_budget, mlp_budget, method, _mixture_weights(chosen, weights), beta, rule, protected_blocks, last_blocks,
        compensation, recovery_steps, learning_rate, fine_tuning_epochs, seed,
    )  # fmt: skip
    run = _Run(model, reference, chosen, plan, progress)
    stages, folder = run.stages(), None
    if directory is not None:
        folder = CascadeFolder(directory, run.configuration())
    state, done = _State(model, PruningMasks.keep_all(model.encoder)), []
    for number, (name, work) in enumerate(stages):
        kept = folder.read(number, name) if folder else None
        if kept is not None:
            state = _restored(state, kept)
        else:
            before, state = state, work(state, np.random.default_rng([seed, number]))
            if folder:
                folder.write(number, name, _tensors(before, state))
        total = sum(parameter.numel() for parameter in model.encoder.parameters())
        done.append(CascadeStage(name, state.masks, removed_parameters(model.encoder, state.masks) / total))
    return CascadeResult(state.model, state.masks, tuple(done))


class _Run:
    """One cascade: its inputs, and what each of its stages does."""

    def __init__(
        self,
        model: Segmenter,
        reference: Segmenter,
        samples: Mapping[str, SegmentationSet],
        plan: _Plan,
        progress: bool,
    ) -> None:
        self.model, self.reference, self.samples = model, reference, samples
        self.plan, self.progress = plan, progress
        self.blocks = encoder_blocks(model.encoder)
        self.pooled = SegmentationSet.from_samples([s for some in samples.values() for s in some], "all datasets")
        self._reference_fisher: Fisher | None = None
        self._check_reference()
        self._check_plan()

    def stages(self) -> list[tuple[str, Callable[[_State, np.random.Generator], _State]]]:
        """Name and work of each stage, in order."""
        plan, first = self.plan, range(len(self.blocks) - self.plan.protected_blocks)
        last = [b for b in range(len(self.blocks)) if b not in first]
        passes: list[tuple[str, Kind, float, Sequence[int]]] = [
            ("heads", "heads", plan.head_budget, last),
            ("channels", "channels", plan.mlp_budget, last),
        ]
        if plan.last_blocks:
            passes.append(("heads of the last blocks", "heads", plan.last_blocks[0], first))
            passes.append(("channels of the last blocks", "channels", plan.last_blocks[1], first))
        stages: list[tuple[str, Callable[[_State, np.random.Generator], _State]]] = []
        for name, kind, budget, protected in passes:
            stages.append((name, partial(self._remove, kind, budget, protected)))
            if plan.recovery_steps:
                stages.append((f"recovery after {name}", self._recover))
        if plan.fine_tuning_epochs:
            stages.append(("fine-tuning", self._fine_tune))
        return stages

    def configuration(self) -> dict[str, Any]:
        """Everything the result depends on, as plain values and digests."""
        sources = [inspect.getsource(module) for module in _CODE]
        data = {name: content_digest([[s.image, s.mask] for s in some]) for name, some in self.samples.items()}
        plan = asdict(self.plan) | {"weights": dict(self.plan.weights)}
        identity = {"model": self.model.digest(), "reference": self.reference.digest(), "samples": data}
        return plan | identity | {"code": content_digest(sources)}

    def _check_reference(self) -> None:
        own, other = (
            {name: tuple(parameter.shape) for name, parameter in some.encoder.named_parameters()}
            for some in (self.model, self.reference)
        )
        differing = [name for name in own | other if own.get(name) != other.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"model and reference belong to different encoders: {name} is {own.get(name, 'missing')} in one and "
                f"{other.get(name, 'missing')} in the other, and {len(differing)} parameters differ in all. Give the "
                "segmenter that this model was adapted from."
            )

    def _check_plan(self) -> None:
        plan, count = self.plan, len(self.blocks)
        if not 0 <= plan.protected_blocks < count:
            raise ValueError(
                f"protected_blocks is {plan.protected_blocks}, but the encoder has {count} blocks and one at least "
                f"must be free. Give 0 to {count - 1}."
            )
        if plan.compensation not in (None, *get_args(Compensation)):
            raise ValueError(
                f"compensation {plan.compensation!r} is unknown. Use None, or one of: "
                f"{', '.join(get_args(Compensation))}."
            )
        if plan.last_blocks and not plan.protected_blocks:
            raise ValueError("last_blocks prunes the protected blocks, but none is protected. Set protected_blocks.")
        for name in ("recovery_steps", "fine_tuning_epochs"):
            if getattr(plan, name) < 0:
                raise ValueError(f"{name} is {getattr(plan, name)}, but counts from 0 up. Give 0 to leave it out.")
        if not 0 <= plan.beta < math.inf:
            raise ValueError(f"beta is {plan.beta}, but it weighs a variance. Give 0 or a positive number.")
        if not 0 < plan.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {plan.learning_rate}, but is a step down. Give a positive number.")
        if plan.fine_tuning_epochs and len(self.pooled) < 2:
            raise ValueError("fine-tuning holds a part back, and there is one image. Give two or leave it out.")
        last = list(range(count - plan.protected_blocks, count))
        for kind, budget in (("heads", plan.head_budget), ("channels", plan.mlp_budget)):
            self._quota(kind, budget, last, [1.0] * count)
        for kind, budget in zip(("heads", "channels"), plan.last_blocks or (), strict=False):
            self._quota(kind, budget, range(last[0]), [1.0] * count)

    def _quota(self, kind: Kind, budget: float, protected: Sequence[int], sensitivity: Sequence[float]) -> list[int]:
        units = [getattr(block, kind) for block in self.blocks]
        least = 1 if kind == "heads" else channel_floors(self.blocks)
        return allocate(sensitivity, budget, units, least, list(protected), self.plan.rule)

    def _remove(
        self, kind: Kind, budget: float, protected: Sequence[int], state: _State, generator: np.random.Generator
    ) -> _State:
        """Score, share the budget out, mask the lowest groups, and compensate when the plan says so."""
        if self.plan.method in WITH_REFERENCE and self._reference_fisher is None:
            self._reference_fisher = boundary_fisher(self.reference, self.pooled, progress=self.progress)
        found = method_scores(
            self.plan.method,
            state.model,
            self.reference,
            list(self.samples.values()),
            [self.plan.weights[name] for name in self.samples],
            masks=state.masks,
            reference_fisher=self._reference_fisher,
            generator=generator,
            alpha=state.alpha,
            beta=self.plan.beta,
            progress=self.progress,
        )
        quota = self._quota(kind, budget, protected, found.sensitivity)
        chosen = select(getattr(found.values, kind), quota)
        earlier = getattr(state.masks, kind)
        masks = replace(state.masks, **{kind: tuple(map(torch.mul, chosen, earlier))})
        return _State(self._compensated(state, masks), masks, found.alpha)

    def _compensated(self, state: _State, masks: PruningMasks) -> Segmenter:
        if self.plan.compensation is None:
            return state.model
        # after a recovery the target is the recovered model: what it has lost must not come back as part of it
        whole = baked(state.model.encoder, state.masks) if self.plan.recovery_steps else self.model.encoder
        inputs = state.model.inputs(self.pooled.images)
        return state.model.with_encoder(compensate(whole, masks, inputs, method=self.plan.compensation))

    def _recover(self, state: _State, generator: np.random.Generator) -> _State:
        recovered = recover(
            state.model,
            self.model,
            self.pooled,
            state.masks,
            self.plan.recovery_steps,
            generator=generator,
            learning_rate=self.plan.learning_rate,
            progress=self.progress,
        )
        return replace(state, model=recovered)

    def _fine_tune(self, state: _State, generator: np.random.Generator) -> _State:
        epochs = self.plan.fine_tuning_epochs
        tuned = fine_tune(state.model, self.pooled, state.masks, epochs, generator=generator, progress=self.progress)
        return replace(state, model=tuned)


def _calibration(samples: Mapping[str, SegmentationSet], count: int | None) -> dict[str, SegmentationSet]:
    if not samples:
        raise ValueError("samples names no dataset, so nothing can be scored. Give at least one.")
    if count is None:
        return dict(samples)
    if count < 1:
        raise ValueError(f"calibration_images is {count}, but each dataset needs at least 1. Give more.")
    for name, some in samples.items():
        if len(some) < count:
            raise ValueError(
                f"dataset {name!r} holds {len(some)} images, but the calibration size is {count}. Give more images, or "
                "a smaller calibration_images."
            )
    return {n: SegmentationSet.from_samples([some[i] for i in range(count)], n) for n, some in samples.items()}


def _mixture_weights(samples: Mapping[str, SegmentationSet], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(samples, 1 / len(samples))
    if set(weights) != set(samples):
        raise ValueError(
            f"weights are for {sorted(weights)}, but the datasets are {sorted(samples)}. Give one weight a dataset."
        )
    if not all(weight >= 0 for weight in weights.values()) or not math.isclose(sum(weights.values()), 1, abs_tol=1e-6):
        raise ValueError(f"the weights {dict(weights)} must be 0 or above with sum 1. Divide them by their sum.")
    return {name: float(weights[name]) for name in samples}


def _tensors(before: _State, after: _State) -> dict[str, Tensor]:
    """What a stage leaves behind: masks, mixing weights, and the network's weights where it changed them."""
    tensors = {} if after.alpha is None else {"alpha": after.alpha}
    for kind in ("heads", "channels"):
        tensors |= {f"{kind}.{b}": mask for b, mask in enumerate(getattr(after.masks, kind))}
    if after.model is not before.model:
        tensors |= {f"network.{name}": value for name, value in after.model.network.state_dict().items()}
    return tensors


def _restored(state: _State, tensors: Mapping[str, Tensor]) -> _State:
    """The state after a stage that was kept."""
    masks = PruningMasks(
        *(tuple(tensors[f"{kind}.{b}"] for b in range(len(state.masks.heads))) for kind in ("heads", "channels"))
    )
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    model = state.model
    if weights:
        model = Segmenter(model.name, copy.deepcopy(model.network), model.preprocessing)
        model.network.load_state_dict(weights)
        model.network.train(model.network.training)  # TinyViT caches its attention biases in evaluation mode
    return _State(model, masks, tensors.get("alpha"))
