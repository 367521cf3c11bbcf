"""Figures about repairs show what they are given, on the right scale."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from medlib.plotting import plot_removal_curves, plot_repairs
from medlib.pruning import RemovalCurve


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_the_share_removed_counts_the_groups_that_stay():
    curve = RemovalCurve(torch.tensor([1, 0]), torch.tensor([0.1, 0.4], dtype=torch.float64), groups=4)
    stuck = RemovalCurve(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.float64), groups=1)
    figure = plot_removal_curves({"heads": {"block 1": curve, "block 2": stuck}, "channels": {"block 1": curve}})
    heads, channels = figure.axes
    assert [line.get_xydata().tolist() for line in heads.lines] == [
        [[0, 0], [1, 1]], [[0, 0], [0.25, 0.1], [0.5, 0.4]], [[0, 0]],
    ]  # fmt: skip
    assert len(channels.lines) == 2
    assert (heads.get_title(), channels.get_title()) == ("heads", "channels")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["proportional", "block 1", "block 2"]


@pytest.mark.parametrize("metrics", [{"dice": "Dice"}, {"dice": "Dice", "hd95": "HD95 (px)"}])
def test_repairs_are_drawn_at_their_mean_over_the_images(metrics: dict[str, str]):
    rows = [
        {"removed": removed, "repair": repair, "dice": level + shift, "hd95": 10 * level + shift}
        for repair, level in (("none", 0.2), ("re-solved", 0.8))
        for removed, shift in ((17, 0.0), (17, 0.1), (33, -0.1), (33, 0.0))
    ]
    figure = plot_repairs(pd.DataFrame(rows), {"dice": 0.9, "hd95": 3.0}, metrics)
    assert [axes.get_ylabel() for axes in figure.axes] == list(metrics.values())
    dense, zeroed, resolved = figure.axes[0].lines[:3]
    assert list(dense.get_ydata()) == [0.9, 0.9]
    assert zeroed.get_xydata().tolist() == [pytest.approx([17, 0.25]), pytest.approx([33, 0.15])]
    assert resolved.get_xydata().tolist() == [pytest.approx([17, 0.85]), pytest.approx([33, 0.75])]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense model", "none", "re-solved"]
