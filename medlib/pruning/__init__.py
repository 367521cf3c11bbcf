"""Structured pruning of SAM-family image encoders: scores, budgets, the cascade, and compensation.

- `encoder_blocks`, `PruningMasks`, `masked`, `random_masks`, `removed_parameters`: the groups, and switching them off.
- `boundary_fisher`, `group_scores`, `mixing_weights`, `combine`: MedCore's dual intervention; `magnitude_scores`,
  `taylor_scores`, `random_scores`: its rivals.
- `allocate`, `select`: from scores and budgets to masks.
- `recover`, `fine_tune`, `cascade`: pruning in stages with training in between.
- `select_by_reconstruction`, `compensate`: pruning without training or labels (ours).
- `compact`, `save_compact`, `load_compact`, `encoder_cost`, `measure_latency`: the smaller model, and what it costs.
- `gated_logits`, `head_displacements`, `remove_heads`: what single groups do to the outline.
"""

from medlib.pruning.budgets import allocate, largest_budget, select
from medlib.pruning.cascade import CascadeResult, CascadeStage, cascade
from medlib.pruning.compact import compact
from medlib.pruning.compact_files import load_compact, save_compact
from medlib.pruning.compensation import Compensator, compensate
from medlib.pruning.contour_attribution import HeadRemoval, head_displacements, remove_heads
from medlib.pruning.contour_weights import contour_weights
from medlib.pruning.cost import EncoderCost, encoder_cost
from medlib.pruning.fine_tuning import fine_tune
from medlib.pruning.fisher import Fisher, block_sensitivity, boundary_fisher, cross_fisher
from medlib.pruning.gated_logits import gated_logits, sweep_logits
from medlib.pruning.groups import Block, GroupValues, Part, encoder_blocks, group_sums
from medlib.pruning.latency import measure_latency
from medlib.pruning.masks import PruningMasks, masked, random_masks, removed_parameters
from medlib.pruning.pictures import Pictures
from medlib.pruning.reconstruction import ReconstructionCurves, reconstruction_curves, select_by_reconstruction
from medlib.pruning.recovery import Lesson, RecoveryTerms, lesson, recover, recovery_terms
from medlib.pruning.regrowth import baked, regrown_share
from medlib.pruning.removal_curve import RemovalCurve, removal_curve
from medlib.pruning.repair_trial import RepairTrial
from medlib.pruning.rival_scores import magnitude_scores, random_scores, taylor_scores
from medlib.pruning.scores import GroupScores, combine, group_scores, mixing_weights, mixture, normalised

__all__ = [
    "Block",
    "CascadeResult",
    "CascadeStage",
    "Compensator",
    "EncoderCost",
    "Fisher",
    "GroupScores",
    "GroupValues",
    "HeadRemoval",
    "Lesson",
    "Part",
    "Pictures",
    "PruningMasks",
    "ReconstructionCurves",
    "RecoveryTerms",
    "RemovalCurve",
    "RepairTrial",
    "allocate",
    "baked",
    "block_sensitivity",
    "boundary_fisher",
    "cascade",
    "combine",
    "compact",
    "compensate",
    "contour_weights",
    "cross_fisher",
    "encoder_blocks",
    "encoder_cost",
    "fine_tune",
    "gated_logits",
    "group_scores",
    "group_sums",
    "head_displacements",
    "largest_budget",
    "lesson",
    "load_compact",
    "magnitude_scores",
    "masked",
    "measure_latency",
    "mixing_weights",
    "mixture",
    "normalised",
    "random_masks",
    "random_scores",
    "reconstruction_curves",
    "recover",
    "recovery_terms",
    "regrown_share",
    "removal_curve",
    "remove_heads",
    "removed_parameters",
    "save_compact",
    "select",
    "select_by_reconstruction",
    "sweep_logits",
    "taylor_scores",
]
