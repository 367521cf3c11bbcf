"""Colours, sizes and panels that all figures share."""

import math

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
"""Okabe and Ito's palette, which people with colour-vision deficiencies can tell apart."""

WIDTH = 6.0
"""Figure width in inches: with 11-point text, letters stay above 8 points on a screen of 390 pixels."""


def use_style() -> None:
    """Set the book's figure style for this process."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=list(COLOURS.values()),
        rc={
            "figure.figsize": (WIDTH, 3.8),
            "figure.dpi": 144,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.8,
            "image.interpolation": "nearest",
        },
    )


def image_grid(count: int, columns: int = 2, extra_height: float = 0.35) -> tuple[Figure, list[Axes]]:
    """Square panels for images, without axes; at most two columns stay legible on a phone, three for bare pictures."""
    rows = math.ceil(count / columns)
    side = WIDTH / columns
    figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, rows * (side + extra_height)), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, list(grid.flat[:count])


def outline(axes: Axes, field: np.ndarray, colour: str, level: float = 0.5, style: str = "-", label: str = "") -> None:
    """Draw where a mask or a logit field crosses `level`, dark-edged so that it shows on any picture."""
    values = field.astype(float)
    if values.min() < level < values.max():
        axes.contour(values, [level], colors="black", linewidths=2.8, linestyles="solid", alpha=0.5)
        axes.contour(values, [level], colors=[COLOURS[colour]], linewidths=1.6, linestyles=style)
    if label:
        axes.plot([], [], color=COLOURS[colour], linestyle=style, label=label)


def legend_below(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """One legend under the whole figure, from the labels of one panel."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
