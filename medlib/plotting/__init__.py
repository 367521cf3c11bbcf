"""Figures of the book: one style, colour-blind-safe, legible on a phone."""

from medlib.plotting.arms import plot_arms
from medlib.plotting.boundaries import Case, plot_bands, plot_cases, plot_curves, plot_paired_scores
from medlib.plotting.displacement import (
    Agreement,
    plot_agreement,
    plot_logit_field,
    plot_orders,
    plot_trade_off,
)
from medlib.plotting.fragility import Estimate, plot_budget_maps, plot_estimates, plot_step_chains, plot_steps
from medlib.plotting.interventions import (
    Forecast,
    plot_architectures,
    plot_forecasts,
    plot_group_ownership,
    plot_pull,
    plot_rank_agreement,
    plot_rank_changes,
    plot_reset_spread,
    plot_two_scores,
)
from medlib.plotting.repairs import plot_removal_curves, plot_repairs
from medlib.plotting.style import COLOURS, use_style

__all__ = [
    "COLOURS",
    "Agreement",
    "Case",
    "Estimate",
    "Forecast",
    "plot_agreement",
    "plot_architectures",
    "plot_arms",
    "plot_bands",
    "plot_budget_maps",
    "plot_cases",
    "plot_curves",
    "plot_estimates",
    "plot_forecasts",
    "plot_group_ownership",
    "plot_logit_field",
    "plot_orders",
    "plot_paired_scores",
    "plot_pull",
    "plot_rank_agreement",
    "plot_rank_changes",
    "plot_removal_curves",
    "plot_repairs",
    "plot_reset_spread",
    "plot_step_chains",
    "plot_steps",
    "plot_trade_off",
    "plot_two_scores",
    "use_style",
]
