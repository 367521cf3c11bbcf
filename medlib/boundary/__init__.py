"""Boundaries of segmentation masks: their agreement, their displacement, their leverage.

- `dice`, `iou`, `boundary_f1`, `hd95`, `segmentation_scores`: two masks against each other.
- `boundary_band`, `square_band`: the pixels near a boundary.
- `spatial_gradient`: how steeply the logits cross it.
- `predicted_displacement`, `measured_displacement`, `displacements`: how far a change of the logits moves it.
- `contour_change`: how large that change is on it.
- `compare_displacements`, `fits_by_size`, `pool`, `error_order`, `fitted_order`: whether the two agree.
- `same_dice`: masks spoilt in different ways to one Dice.
- `leverage_step`, `compare_steps`: how far pruning moves it, per percentage point removed.
"""

from medlib.boundary.agreement import (
    DisplacementFit,
    ErrorOrder,
    compare_displacements,
    error_order,
    fits_by_size,
    fitted_order,
    pool,
)
from medlib.boundary.bands import boundary_band, square_band
from medlib.boundary.comparison import LeverageSummary, compare_steps
from medlib.boundary.corruptions import same_dice
from medlib.boundary.displacement import (
    Displacement,
    contour_change,
    displacements,
    measured_displacement,
    predicted_displacement,
)
from medlib.boundary.gradient import spatial_gradient
from medlib.boundary.leverage import LeverageStep, leverage_step
from medlib.boundary.metrics import SegmentationScores, boundary_f1, dice, hd95, iou, segmentation_scores

__all__ = [
    "Displacement",
    "DisplacementFit",
    "ErrorOrder",
    "LeverageStep",
    "LeverageSummary",
    "SegmentationScores",
    "boundary_band",
    "boundary_f1",
    "compare_displacements",
    "compare_steps",
    "contour_change",
    "dice",
    "displacements",
    "error_order",
    "fits_by_size",
    "fitted_order",
    "hd95",
    "iou",
    "leverage_step",
    "measured_displacement",
    "pool",
    "predicted_displacement",
    "same_dice",
    "segmentation_scores",
    "spatial_gradient",
    "square_band",
]
