"""Figures about the groups of an encoder, what scores say about them, and what happens when they go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullLocator
from torch import nn

from medlib.plotting.style import COLOURS, WIDTH, image_grid, legend_below
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.score_comparison import RankAgreement

SHARED = "#DDDDDD"
MARKERS = ("o", "s", "^", "D", "v", "P")
ROW = 0.21  # inches for a row of text at 390 pixels


def plot_group_ownership(encoder: nn.Module, block: int, head: int, channel: int) -> Figure:
    """The weight matrices of one block, true to scale, with what one head and one channel own.

    Args:
        encoder: see `encoder_blocks`.
        block: its block to draw.
        head: the head to mark.
        channel: the MLP channel to mark.
    """
    block = encoder_blocks(encoder)[block]
    shapes = {name: parameter.shape for name, parameter in encoder.named_parameters()}
    parts = [(part, head, "blue") for part in block.head_parts] + [
        (part, channel, "vermilion") for part in block.channel_parts
    ]
    owned = [(part, group, colour) for part, group, colour in parts if len(shapes[part.parameter]) == 2]
    names = list(dict.fromkeys(part.parameter for part, _, _ in owned))
    gap = 0.12 * max(max(shapes[name]) for name in names)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    left, lefts, tallest = 0.0, {}, max(shapes[name][0] for name in names)
    for name, title in zip(names, ("query, key\nand value", "output\nprojection", "first\nMLP map", "second\nMLP map")):
        rows, columns = shapes[name]
        lefts[name] = left
        axes.add_patch(Rectangle((left, 0), columns, rows, facecolor=SHARED, edgecolor="black", linewidth=0.8))
        axes.text(left + columns / 2, -0.03 * tallest, f"{title}\n{rows} × {columns}", ha="center", va="bottom")
        left += columns + gap
    for part, group, colour in owned:
        rows, columns = shapes[part.parameter]
        for line in part.index[group].tolist():
            corner, width, height = ((0, line), columns, 1) if part.axis == 0 else ((line, 0), 1, rows)
            place = (lefts[part.parameter] + corner[0], corner[1])
            axes.add_patch(
                Rectangle(place, width, height, facecolor=COLOURS[colour], edgecolor=COLOURS[colour], linewidth=0.6)
            )
    axes.set(xlim=(-0.02 * left, left - gap * 0.85), ylim=(1.02 * tallest, -0.32 * tallest), aspect="equal")
    axes.set_axis_off()
    handles = [
        Patch(color=COLOURS["blue"], label=f"one head: {block.head_parameters:,} parameters"),
        Patch(color=COLOURS["vermilion"], label=f"one channel: {block.channel_parameters:,}"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_architectures(encoders: Mapping[str, nn.Module]) -> Figure:
    """Encoders as stacks of blocks, input above, each block a bar as long as its parameters.

    Heads are separate boxes; channels, being many, share one; grey is what belongs to no group.

    Args:
        encoders: by name; see `encoder_blocks`.
    """
    rows = [len(encoder_blocks(encoder)) for encoder in encoders.values()]
    figure, panels = plt.subplots(
        len(rows), 1, figsize=(WIDTH, ROW * sum(rows) + 0.75 * len(rows) + 0.5),
        height_ratios=[count + 1 for count in rows], squeeze=False,
    )  # fmt: skip
    for axes, (name, encoder) in zip(panels.flat, encoders.items(), strict=True):
        _draw_architecture(axes, name, encoder)
    handles = [
        Patch(facecolor=COLOURS["blue"], edgecolor="white", label="heads"),
        Patch(facecolor=COLOURS["orange"], label="MLP channels"),
        Patch(facecolor=SHARED, label="shared"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_architecture(axes: Axes, name: str, encoder: nn.Module) -> None:
    blocks = encoder_blocks(encoder)
    totals = [sum(p.numel() for p in encoder.get_submodule(block.name).parameters()) for block in blocks]
    for row, (block, total) in enumerate(zip(blocks, totals, strict=True)):
        heads, channels = (block.heads * block.head_parameters, block.channels * block.channel_parameters)
        starts = np.arange(block.heads) * block.head_parameters
        axes.barh(
            [row] * block.heads, block.head_parameters, left=starts, height=0.78,
            color=COLOURS["blue"], edgecolor="white", linewidth=0.7,
        )  # fmt: skip
        axes.barh(row, channels, left=heads, height=0.78, color=COLOURS["orange"])
        axes.barh(row, total - heads - channels, left=heads + channels, height=0.78, color=SHARED)
    row = 0
    for sizes, same in groupby(blocks, lambda b: (b.heads, b.head_parameters, b.channels, b.channel_parameters)):
        count = len(list(same))
        note = "{} heads × {:,}\n{:,} channels × {:,}".format(*sizes)
        axes.text(1.03 * max(totals), row + (count - 1) / 2, note, va="center", fontsize=9.5)
        row += count
    everything = sum(parameter.numel() for parameter in encoder.parameters())
    grouped = sum(b.heads * b.head_parameters + b.channels * b.channel_parameters for b in blocks)
    title = f"{name}: {everything:,} parameters, {grouped / everything:.0%} of them in groups"
    axes.set(xlim=(0, 1.62 * max(totals)), ylim=(len(blocks) - 0.45, -0.55), xticks=[])
    axes.set_title(title, loc="left")
    axes.set_yticks(range(len(blocks)), [f"{row + 1}" for row in range(len(blocks))], fontsize=9.5)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)


def plot_pull(image: np.ndarray, band: np.ndarray, pulls: Mapping[str, np.ndarray]) -> Figure:
    """A picture with the boundary band, and how strongly the loss pulls at each pixel's logit.

    Args:
        image: uint8 (H, W, 3).
        band: bool (h, w), on the pixels of the logits.
        pulls: title → (h, w) absolute gradient of the loss; all on one scale.
    """
    figure, panels = image_grid(1 + len(pulls), columns=3, extra_height=0.8)
    panels[0].imshow(image, extent=(0, 1, 1, 0))
    shade = np.zeros((*band.shape, 4))
    shade[band] = (*to_rgb(COLOURS["sky"]), 0.75)
    panels[0].imshow(shade, extent=(0, 1, 1, 0))
    panels[0].set_title("the band")
    most = max(pull.max() for pull in pulls.values())
    for axes, (title, pull) in zip(panels[1:], pulls.items(), strict=True):
        shown = axes.imshow(pull, cmap="cividis", vmin=0, vmax=most)
        axes.set_title(title)
    figure.colorbar(shown, ax=panels, location="bottom", shrink=0.6, label="|∂L/∂z| of each pixel", aspect=30)
    return figure


def plot_two_scores(zero: Sequence[np.ndarray], reset: Sequence[np.ndarray]) -> Figure:
    """Resetting against zeroing score, one marker style a block, with the line where both are the same.

    Args:
        zero: one array (groups,) a block, positive.
        reset: likewise.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6))
    left, right = np.concatenate(zero).min() / 1.5, np.concatenate(zero).max() * 1.5
    axes.plot((left, right), (left, right), color="black", linewidth=1, linestyle="--", label="equal")
    for number, (x, y) in enumerate(zip(zero, reset, strict=True)):
        colour, marker = list(COLOURS.values())[number % 6], MARKERS[number % 6]
        axes.scatter(x, y, color=colour, marker=marker, s=40, alpha=0.85, linewidths=0, label=f"block {number + 1}")
    bottom = min(left, np.concatenate(reset).min() / 1.5)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, right))
    axes.set(xlabel="Δzero of a head", ylabel="Δreset of the head")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    legend_below(figure, axes, columns=3)
    return figure


def plot_reset_spread(correlations: Sequence[np.ndarray], spreads: Sequence[np.ndarray]) -> Figure:
    """How widely the resetting score spreads, against how widely it would have to.

    Args:
        correlations: one array (models,) a block: ρ of the two scores.
        spreads: likewise: standard deviation of the resetting score over that of the zeroing score.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    rho = np.linspace(-0.98, 0.998, 400)
    axes.plot(rho, (1 + rho) / (1 - rho), color="black", label="equal say")
    axes.text(-0.95, 30, "Δreset would decide")
    axes.text(-0.2, 0.1, "Δzero decides")
    for number, (x, y) in enumerate(zip(correlations, spreads, strict=True)):
        colour, marker = list(COLOURS.values())[number % 6], MARKERS[number % 6]
        axes.scatter(x, y, color=colour, marker=marker, s=44, linewidths=0, label=f"block {number + 1}", zorder=3)
    axes.set(
        yscale="log",
        xlim=(-1.02, 1.02),
        xlabel="correlation ρ of the two scores",
        ylabel="spread of Δreset / spread of Δzero",
    )
    top = axes.secondary_xaxis("top", functions=(lambda r: (1 + r) / 2, lambda a: 2 * a - 1))
    top.set_xlabel("weight α of Δzero")
    legend_below(figure, axes, columns=3)
    return figure


@dataclass(frozen=True)
class Forecast:
    """What a score foretold for each head, and what happened.

    Attributes:
        title: one or two short lines.
        score: positive, one number a head.
        rise: of the loss.
    """

    title: str
    score: np.ndarray
    rise: np.ndarray


def plot_forecasts(panels: Sequence[Forecast], xlabel: str) -> Figure:
    """Rise of the loss against score relative to its median, one dot a head; where the loss falls, a triangle."""
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH, 3.9), sharey=True, squeeze=False)
    typical = np.percentile(np.abs(np.concatenate([panel.rise for panel in panels])), 25)
    decade = 10.0 ** np.round(np.log10(max(typical, 1e-12)))
    for axes, panel in zip(grid.flat, panels, strict=True):
        score, lower = panel.score / np.median(panel.score), panel.rise < 0
        for some, colour, marker, label in (
            (~lower, "blue", "o", "loss rises"),
            (lower, "vermilion", "v", "loss falls"),
        ):
            axes.scatter(
                score[some], panel.rise[some], color=COLOURS[colour], marker=marker,
                s=32, alpha=0.8, linewidths=0, label=label,
            )  # fmt: skip
        axes.axhline(0, color="black", linewidth=1)
        axes.set(xscale="log", title=panel.title, xlabel=xlabel)
        axes.set_yscale("symlog", linthresh=decade)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    grid.flat[0].set_ylabel("rise of the loss without the head")
    legend_below(figure, grid.flat[0], columns=2)
    return figure


def plot_rank_agreement(
    panels: Mapping[str, Mapping[str, Mapping[str, RankAgreement]]], scores: Sequence[str]
) -> Figure:
    """Rank correlations with intervals: one panel an outcome, one row a score, one marker a model.

    Args:
        panels: outcome → model → score → agreement; a model need not have every score.
        scores: their order, top to bottom.
    """
    height = 0.55 * len(scores) + 1.6
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH, height), sharey=True, squeeze=False)
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=True):
        axes.axvline(0, color="black", linewidth=1)
        for number, (model, agreements) in enumerate(found.items()):
            offset = 0.24 * (number - (len(found) - 1) / 2)
            colour, marker = list(COLOURS.values())[number], MARKERS[number]
            rows = [scores.index(score) + offset for score in agreements]
            for row, agreement in zip(rows, agreements.values(), strict=True):
                if agreement.interval:
                    axes.plot(agreement.interval, (row, row), color=colour, linewidth=2)
            values = [agreement.value for agreement in agreements.values()]
            axes.plot(values, rows, marker, color=colour, markersize=6, label=model)
        axes.set(xlim=(-1.05, 1.05), title=title, xlabel="rank correlation")
        axes.set_yticks(range(len(scores)), scores)
        axes.grid(axis="x", alpha=0.4)
    grid.flat[0].invert_yaxis()
    legend_below(figure, grid.flat[0], columns=2)
    return figure


def plot_rank_changes(panels: Mapping[str, np.ndarray], columns: Sequence[str], xlabel: str) -> Figure:
    """Order of the groups of each block under several conditions; lines that cross have changed places.

    Args:
        panels: block → (groups, conditions) scores.
        columns: short names of the conditions.
        xlabel: what the conditions are.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH, 3.6), sharey=True, squeeze=False)
    for axes, (title, scores) in zip(grid.flat, panels.items(), strict=True):
        ranks = scores.argsort(axis=0).argsort(axis=0) + 1
        for line in ranks:
            moved = (line != line[0]).any()
            colour, width = (COLOURS["vermilion"], 2.2) if moved else (COLOURS["blue"], 1.6)
            axes.plot(line, "-o", color=colour, linewidth=width, markersize=4.5, zorder=3 if moved else 2)
        axes.axhline(len(ranks) / 2 + 0.5, color="black", linewidth=1, linestyle="--")
        axes.set(title=title, xticks=range(len(columns)), xlim=(-0.35, len(columns) - 0.65))
        axes.set_xticklabels(columns)
        axes.set_xlabel(xlabel)
        axes.set_yticks(range(1, len(ranks) + 1))
    grid.flat[0].set_ylabel("place of the head (1 goes first)")
    handles = [
        plt.Line2D([], [], color=COLOURS["blue"], marker="o", label="keeps its place"),
        plt.Line2D([], [], color=COLOURS["vermilion"], marker="o", label="changes place"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
