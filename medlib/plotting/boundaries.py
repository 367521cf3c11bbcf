"""Figures about masks and their boundaries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from medlib.plotting.style import COLOURS, WIDTH, image_grid, legend_below, outline


@dataclass(frozen=True)
class Case:
    """One panel: a picture and the outlines to draw on it.

    Attributes:
        title: one or two short lines.
        image: uint8 (H, W, 3).
        outlines: label → mask or logit field (H, W); masks are bool.
    """

    title: str
    image: np.ndarray
    outlines: Mapping[str, np.ndarray]


OUTLINE_STYLES = (("sky", "-"), ("orange", "-"), ("purple", "--"))


def plot_cases(cases: Sequence[Case], columns: int = 2) -> Figure:
    """Pictures with up to three outlines each, the same colours for the same labels."""
    figure, panels = image_grid(len(cases), columns, extra_height=0.5)
    for axes, case in zip(panels, cases, strict=True):
        axes.imshow(case.image)
        for (label, field), (colour, style) in zip(case.outlines.items(), OUTLINE_STYLES, strict=False):
            outline(axes, field, colour, 0.5 if field.dtype == bool else 0.0, style, label)
        axes.set_title(case.title)
    legend_below(figure, panels[0])
    return figure


def plot_curves(x: np.ndarray, curves: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """Curves over one axis, told apart by colour, line style and label."""
    figure, axes = plt.subplots()
    styles = zip(COLOURS.values(), ("-", "--", "-.", ":", "-", "--"), strict=False)
    for (label, y), (colour, style) in zip(curves.items(), styles, strict=False):
        axes.plot(x, y, style, color=colour, label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(figure, axes, columns=2)
    return figure


def plot_paired_scores(
    scores: Mapping[str, Mapping[str, Sequence[float]]], lower_is_better: Sequence[str] = ()
) -> Figure:
    """Scores of several methods on the same images: one panel a metric, one dot an image, a bar at the mean.

    Args:
        scores: metric → method → one value an image.
        lower_is_better: the metrics to mark so.
    """
    figure, grid = plt.subplots(1, len(scores), figsize=(WIDTH, 3.6), squeeze=False)
    for axes, (metric, methods) in zip(grid.flat, scores.items(), strict=True):
        names, values = list(methods), [np.asarray(v) for v in methods.values()]
        labels = np.concatenate([[name] * len(v) for name, v in zip(names, values, strict=True)])
        sns.stripplot(
            x=labels, y=np.concatenate(values), hue=labels,
            palette=[COLOURS["orange"], COLOURS["blue"], COLOURS["green"]][: len(names)],
            ax=axes, size=4.5, alpha=0.75, jitter=0.18, legend=False,
        )  # fmt: skip
        for position, v in enumerate(values):
            axes.plot([position - 0.3, position + 0.3], [v.mean()] * 2, color="black", linewidth=2, zorder=5)
        axes.set(
            xlabel="",
            ylabel="",
            title=f"{metric}\n({'lower' if metric in lower_is_better else 'higher'} is better)",
        )
    return figure


def plot_bands(image: np.ndarray, mask: np.ndarray, bands: Mapping[str, np.ndarray]) -> Figure:
    """The same mask with several bands, each shaded on the picture, with its share of the image in the title."""
    figure, panels = image_grid(len(bands), columns=2, extra_height=0.55)
    for axes, (title, band) in zip(panels, bands.items(), strict=True):
        axes.imshow(image)
        shade = np.zeros((*band.shape, 4))
        shade[band] = (*to_rgb(COLOURS["blue"]), 0.7)
        axes.imshow(shade)
        axes.contour(mask.astype(float), [0.5], colors="white", linewidths=1)
        axes.set_title(f"{title}\n{band.mean():.1%} of the image")
    return figure
