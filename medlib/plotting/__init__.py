"""Figures of the book: one style, colour-blind-safe, legible on a phone."""

from medlib.plotting.boundaries import Case, plot_bands, plot_cases, plot_curves, plot_paired_scores
from medlib.plotting.displacement import (
    Agreement,
    plot_agreement,
    plot_logit_field,
    plot_orders,
    plot_trade_off,
)
from medlib.plotting.style import COLOURS, use_style

__all__ = [
    "COLOURS",
    "Agreement",
    "Case",
    "plot_agreement",
    "plot_bands",
    "plot_cases",
    "plot_curves",
    "plot_logit_field",
    "plot_orders",
    "plot_paired_scores",
    "plot_trade_off",
    "use_style",
]
