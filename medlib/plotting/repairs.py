"""Figures about pruned models and their repair."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from medlib.plotting.style import COLOURS, WIDTH, legend_below
from medlib.pruning import RemovalCurve


def plot_removal_curves(panels: Mapping[str, Mapping[str, RemovalCurve]]) -> Figure:
    """What is lost at single maps as their groups go, one panel a kind of group, with the line of proportional loss.

    Args:
        panels: title → label of a map → its curve.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH, 3.9), sharey=True, squeeze=False)
    styles = list(zip(list(COLOURS.values()), ("-", "--", "-.", ":", "-", "--"), strict=False))
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="proportional")
        for (label, curve), (colour, style) in zip(curves.items(), styles, strict=False):
            gone = [k / curve.groups for k in range(len(curve.error) + 1)]
            axes.plot(gone, [0.0, *curve.error.tolist()], style, color=colour, label=label)
        axes.set(title=title, xlabel="share removed")
    grid.flat[0].set_ylabel("share of the output lost")
    legend_below(figure, grid.flat[0], columns=2)
    return figure


def plot_repairs(scores: pd.DataFrame, dense: Mapping[str, float], metrics: Mapping[str, str]) -> Figure:
    """Scores against the share of the encoder that is gone, one line a repair, with 95 % intervals over images.

    Args:
        scores: columns "removed" (in %), "repair", and one a metric; one row an image.
        dense: column of a metric → the mean of the dense model.
        metrics: column of a metric → its label.
    """
    figure, grid = plt.subplots(len(metrics), 1, figsize=(WIDTH, 2.3 * len(metrics) + 0.5), sharex=True, squeeze=False)
    repairs = list(dict.fromkeys(scores["repair"]))
    colours = [COLOURS[name] for name in ("vermilion", "orange", "blue", "green")[: len(repairs)]]
    for axes, (column, label) in zip(grid.flat, metrics.items(), strict=True):
        axes.axhline(dense[column], color="black", linestyle="--", linewidth=1.2, label="dense model")
        sns.lineplot(
            scores, x="removed", y=column, hue="repair", style="repair", hue_order=repairs, style_order=repairs,
            palette=colours, markers=["v", "s", "o", "D"][: len(repairs)], dashes=False, markersize=7,
            errorbar=("ci", 95), seed=0, ax=axes,
        )  # fmt: skip
        axes.set(ylabel=label, xlabel="encoder parameters removed (%)")
        handles = axes.get_legend_handles_labels()
        axes.get_legend().remove()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
