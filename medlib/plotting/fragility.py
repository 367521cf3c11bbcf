"""Figures about grids of budgets and the steps between their models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from medlib.plotting.style import COLOURS, WIDTH, legend_below

KIND_STYLES = (("vermilion", "o"), ("blue", "s"), ("green", "^"))


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, None where there is none."""

    value: float
    interval: tuple[float, float] | None


def plot_budget_maps(
    maps: Mapping[str, np.ndarray],
    columns: Sequence[str],
    rows: Sequence[str],
    xlabel: str,
    ylabel: str,
    lower_is_better: Sequence[str] = (),
) -> Figure:
    """Scores of every model of a grid of budgets, one panel a score, each cell with its number.

    Args:
        maps: title → (rows, columns) scores; the lowest row is drawn at the bottom.
        columns: labels of the columns.
        rows: labels of the rows.
        xlabel, ylabel: of the whole figure.
        lower_is_better: the titles whose colours are reversed, so that bright is good everywhere.
    """
    tall = -(-len(maps) // 2)
    figure, grid = plt.subplots(tall, 2, figsize=(WIDTH, 2.7 * tall + 0.3), sharex=True, sharey=True, squeeze=False)
    for axes, (title, values) in zip(grid.flat, maps.items(), strict=False):
        worse = title in lower_is_better
        sns.heatmap(
            values, ax=axes, cmap="cividis_r" if worse else "cividis", cbar=False, linewidths=1, annot=True,
            fmt=".1f" if worse else ".2f", annot_kws={"size": 11 if len(columns) < 6 else 8},
            xticklabels=columns, yticklabels=rows,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
        axes.set_title(f"{title}\n({'lower' if worse else 'higher'} is better)")
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    figure.supxlabel(xlabel, fontsize=11)
    figure.supylabel(ylabel, fontsize=11)
    return figure


def plot_steps(
    kinds: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    power_laws: bool = False,
) -> Figure:
    """One dot a step, with a colour and a marker for each kind.

    Args:
        kinds: label → (x, y) of its steps.
        xlabel, ylabel: of the axes.
        power_laws: draw logarithmic axes and, through each kind, the line fitted on them.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    for (label, (x, y)), (colour, marker) in zip(kinds.items(), KIND_STYLES, strict=False):
        axes.scatter(x, y, color=COLOURS[colour], marker=marker, label=label, s=36, alpha=0.75, linewidths=0)
        if power_laws:
            fit = np.polyfit(np.log(x), np.log(y), 1)
            ends = np.array([min(x), max(x)])
            axes.plot(ends, np.exp(np.polyval(fit, np.log(ends))), color=COLOURS[colour])
    if power_laws:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(ScalarFormatter())
    else:
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(figure, axes, columns=2)
    return figure


def plot_estimates(
    rows: Mapping[str, Mapping[str, Estimate]], xlabel: str, marks: Mapping[str, float], logarithmic: bool = True
) -> Figure:
    """Values with their intervals, one line a row, several series a row told apart by colour and marker.

    Args:
        rows: label of the row → series → estimate; from top to bottom.
        xlabel: of the axis.
        marks: label → value of a vertical line; the first is solid, the others dashed.
        logarithmic: draw the axis so that twice and half are equally far from 1.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.62 * len(rows) + 1.9))
    for (label, value), dashes in zip(marks.items(), ("-", "--", ":"), strict=False):
        axes.axvline(value, color="black", linewidth=1.2, linestyle=dashes, label=label)
    for k, name in enumerate(series):
        colour, marker = KIND_STYLES[k]
        places = [i + 0.22 * (k - (len(series) - 1) / 2) for i, row in enumerate(rows.values()) if name in row]
        found = [row[name] for row in rows.values() if name in row]
        axes.plot([e.value for e in found], places, marker, color=COLOURS[colour], markersize=7, label=name)
        for place, estimate in zip(places, found, strict=True):
            if estimate.interval:
                axes.plot(estimate.interval, [place] * 2, color=COLOURS[colour], linewidth=2)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=xlabel)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(plt.FixedLocator([0.25, 0.5, 1, 2, 3, 4, 8]))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(plt.NullLocator())
    legend_below(figure, axes, columns=2)
    return figure
