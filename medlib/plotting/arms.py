"""Methods compared under one budget: how good each is after every stage."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medlib.plotting.style import COLOURS, WIDTH

_STAGE_STYLES = (("vermilion", "v"), ("blue", "o"), ("green", "s"), ("orange", "D"))


def plot_arms(
    scores: Mapping[str, Mapping[str, Sequence[float]]], controls: Mapping[str, float], xlabel: str
) -> Figure:
    """One row a method, one marker style a stage: small markers are repetitions, large ones their mean.

    Args:
        scores: method → stage → one value a repetition; methods may lack stages, and four stages at most are drawn.
        controls: label → value, drawn as vertical lines, two at most.
        xlabel: name of the score.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.5 * len(scores) + 1.9))
    stages = list(dict.fromkeys(stage for row in scores.values() for stage in row))
    for (label, value), style in zip(controls.items(), ("--", ":"), strict=False):
        axes.axvline(value, color="black", linestyle=style, linewidth=1.3, label=label)
    for stage, (colour, marker) in zip(stages, _STAGE_STYLES, strict=False):
        rows = [(place, row[stage]) for place, row in enumerate(scores.values()) if stage in row]
        for place, values in rows:
            axes.scatter(values, [place] * len(values), s=14, color=COLOURS[colour], marker=marker, alpha=0.5)
        places, means = zip(*((place, np.mean(values)) for place, values in rows), strict=True)
        axes.scatter(means, places, s=75, color=COLOURS[colour], marker=marker, edgecolors="black", label=stage)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.grid(axis="y", alpha=0.3)
    axes.set_xlabel(xlabel)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
