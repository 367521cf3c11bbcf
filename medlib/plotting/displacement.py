"""Figures about contours that move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medlib.boundary import ErrorOrder
from medlib.plotting.style import COLOURS, WIDTH, image_grid, legend_below, outline

MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_orders(curves: Mapping[str, ErrorOrder], xlabel: str, ylabel: str) -> Figure:
    """Errors against sizes on logarithmic axes.

    Args:
        curves: by label; the fitted order is written in the legend.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    for (label, curve), colour, marker in zip(curves.items(), COLOURS.values(), MARKERS, strict=False):
        axes.loglog(curve.sizes, curve.errors, marker=marker, color=colour, label=f"{label}: order {curve.order:.2f}")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(figure, axes, columns=1)
    return figure


@dataclass(frozen=True)
class Agreement:
    """Predicted and measured displacements of one perturbation, in pixels; lost points are NaN in `measured`."""

    title: str
    predicted: np.ndarray
    measured: np.ndarray


def plot_agreement(panels: Sequence[Agreement], limit: float) -> Figure:
    """Measured against predicted displacement, one panel a perturbation, with the line where both agree.

    Args:
        panels: what to show.
        limit: half-width of both axes in pixels; points beyond are counted in the panel's corner.
    """
    columns = 2
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, 2.9 * rows), sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        kept = np.isfinite(panel.measured)
        inside = kept & (np.abs(panel.predicted) <= limit) & (np.abs(panel.measured) <= limit)
        axes.plot([-limit, limit], [-limit, limit], color="black", linewidth=1, linestyle="--")
        size, alpha = (5, 0.35) if len(panel.measured) > 200 else (36, 0.9)
        axes.scatter(
            panel.predicted[inside], panel.measured[inside], s=size, alpha=alpha, color=COLOURS["blue"], linewidths=0
        )
        axes.set_title(panel.title)
        outside, lost = int((kept & ~inside).sum()), int((~kept).sum())
        if outside or lost:
            note = f"beyond: {outside}\nlost: {lost}"
            axes.text(0.97, 0.03, note, transform=axes.transAxes, ha="right", va="bottom")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("predicted displacement (pixels)", fontsize=11)
    figure.supylabel("measured (pixels)", fontsize=11)
    return figure


def plot_logit_field(
    image: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    points: np.ndarray,
    displacement: np.ndarray,
    title: str,
) -> Figure:
    """Two contours on the picture, and the points of the first coloured by how far the second one lies.

    Args:
        image: uint8 (H, W, 3).
        before, after: logits (H, W).
        points: (K, 2) row and column on the contour of `before`.
        displacement: (K,) pixels, positive where the contour retreats.
        title: of the left panel.
    """
    figure, (left, right) = image_grid(2, extra_height=0.9)
    left.imshow(image)
    outline(left, before, "sky", 0.0, "-", "before")
    outline(left, after, "orange", 0.0, "--", "after")
    left.set_title(title)
    reach = np.nanpercentile(np.abs(displacement), 98)
    right.imshow(image.mean(axis=-1), cmap="gray", vmin=-255, vmax=255)
    dots = right.scatter(
        points[:, 1],
        points[:, 0],
        c=displacement,
        s=13,
        cmap="PuOr",
        vmin=-reach,
        vmax=reach,
        edgecolors="black",
        linewidths=0.25,
    )
    right.set_title("displacement of each point")
    rows, columns = np.ptp(points, axis=0)
    centre = points.mean(axis=0)
    half = 0.62 * max(rows, columns)
    for axes in (left, right):
        axes.set_xlim(max(0, centre[1] - half), min(image.shape[1] - 1, centre[1] + half))
        axes.set_ylim(min(image.shape[0] - 1, centre[0] + half), max(0, centre[0] - half))
    figure.colorbar(
        dots, ax=right, orientation="horizontal", label="pixels (positive: the contour retreats)", shrink=0.9
    )
    legend_below(figure, left)
    return figure


def plot_trade_off(losses: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str) -> Figure:
    """Loss of one score against loss of another, one marker style a perturbation, with the line of equal loss."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    most = 0.0
    for (label, (x, y)), colour, marker in zip(losses.items(), COLOURS.values(), MARKERS, strict=False):
        axes.scatter(x, y, color=colour, marker=marker, label=label, s=36, alpha=0.8, linewidths=0)
        most = max(most, float(np.max(x)))
    axes.plot([0, most], [0, most], color="black", linewidth=1, linestyle="--", label="equal loss")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(figure, axes, columns=2)
    return figure
