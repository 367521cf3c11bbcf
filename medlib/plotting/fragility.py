"""Figures about grids of budgets and the steps between their models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medlib.plotting.style import COLOURS, WIDTH, legend_below
from medlib.pruning.budget_grid import BudgetGrid
from medlib.pruning.fragility import StepLeverage

KIND_STYLES = (("vermilion", "o"), ("blue", "s"), ("green", "^"))


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, None where there is none."""

    value: float
    interval: tuple[float, float] | None


def plot_budget_maps(maps: Mapping[str, np.ndarray], grid: BudgetGrid, lower_is_better: Sequence[str] = ()) -> Figure:
    """Scores of every model of a grid of budgets, one panel a score, each cell with its number.

    Args:
        maps: title → (head budgets, channel budgets) scores.
        grid: the models; its percentage points are written under the budgets.
        lower_is_better: the titles whose colours are reversed, so that bright is good everywhere.
    """
    tall = -(-len(maps) // 2)
    figure, panels = plt.subplots(tall, 2, figsize=(WIDTH, 2.7 * tall + 0.4), squeeze=False)
    columns, rows = (
        [f"{budget:.0%}\n({points:.1f})" for budget, points in zip(budgets, found, strict=True)]
        for budgets, found in ((grid.heads, grid.head_points), (grid.channels, grid.channel_points))
    )
    for position, (axes, (title, values)) in enumerate(zip(panels.flat, maps.items(), strict=False)):
        worse = title in lower_is_better
        sns.heatmap(
            values.T, ax=axes, cmap="cividis_r" if worse else "cividis", cbar=False, linewidths=1, annot=True,
            fmt=".1f" if worse else ".2f", annot_kws={"size": 11 if len(columns) < 5 else 8},
            xticklabels=columns if position // 2 == tall - 1 else False,
            yticklabels=rows if position % 2 == 0 else False,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.tick_params(length=0, labelrotation=0)
        axes.set_title(f"{title}\n({'lower' if worse else 'higher'} is better)")
    for axes in panels.flat[len(maps) :]:
        axes.set_axis_off()
    figure.supxlabel("heads removed (in brackets: % of the encoder)", fontsize=11)
    figure.supylabel("MLP channels removed (% of the encoder)", fontsize=11)
    return figure


def plot_step_chains(kinds: Mapping[str, Sequence[StepLeverage]]) -> Figure:
    """λ95 against the size of steps on logarithmic axes: one dot a step, a line through those that begin at one model.

    Args:
        kinds: kind of step → its steps; each is drawn at its median over the images.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    for (label, steps), (colour, marker) in zip(kinds.items(), KIND_STYLES, strict=False):
        for k, start in enumerate(dict.fromkeys(m.step.start for m in steps)):
            dots = sorted((m.step.points, np.median(m.p95)) for m in steps if m.step.start == start)
            axes.plot(
                *zip(*dots, strict=True), color=COLOURS[colour], marker=marker, markersize=6, linewidth=1.3, alpha=0.8,
                label=label if k == 0 else None,
            )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="size of the step (percentage points of the encoder)",
        ylabel="λ95 (pixels per percentage point)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    legend_below(figure, axes, columns=2)
    return figure


def plot_steps(kinds: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str) -> Figure:
    """One dot a step, with a colour and a marker for each kind, and a line at 0.

    Args:
        kinds: label → (x, y) of its steps; x is drawn on a logarithmic axis.
        xlabel: of the axis.
        ylabel: of the axis.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    for (label, (x, y)), (colour, marker) in zip(kinds.items(), KIND_STYLES, strict=False):
        axes.scatter(x, y, color=COLOURS[colour], marker=marker, label=label, s=40, alpha=0.8, linewidths=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    _plain_ticks(axes.xaxis)
    legend_below(figure, axes, columns=1)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """Few ticks with plain numbers on a logarithmic axis, however short it is."""
    axis.set_major_locator(FixedLocator([a * 10.0**b for b in range(-3, 4) for a in (1, 2, 3, 5)]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def plot_estimates(rows: Mapping[str, Mapping[str, Estimate]], xlabel: str, marks: Mapping[str, float]) -> Figure:
    """Ratios with their intervals, one line a row, the series of a row told apart by colour and marker.

    Args:
        rows: label of the row → series → estimate; from top to bottom. The axis is logarithmic.
        xlabel: of the axis.
        marks: label → value of a vertical line; the first is solid, the others dashed.
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.5 * len(rows) + 2.0))
    for (label, value), dashes in zip(marks.items(), ("-", "--", ":"), strict=False):
        axes.axvline(value, color="black", linewidth=1.2, linestyle=dashes, label=label)
    for k, name in enumerate(series):
        colour, marker = KIND_STYLES[k]
        places = [i + 0.26 * (k - (len(series) - 1) / 2) for i, row in enumerate(rows.values()) if name in row]
        found = [row[name] for row in rows.values() if name in row]
        axes.plot([e.value for e in found], places, marker, color=COLOURS[colour], markersize=7, label=name)
        for place, estimate in zip(places, found, strict=True):
            if estimate.interval:
                axes.plot(estimate.interval, [place] * 2, color=COLOURS[colour], linewidth=2)
    axes.set(xscale="log", yticks=range(len(rows)), yticklabels=list(rows), xlabel=xlabel)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    legend_below(figure, axes, columns=2)
    return figure
