"""Figures of the notebook on scores show what they are given."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from medlib import plotting
from medlib.models import tiny_sam
from medlib.pruning.score_comparison import RankAgreement


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def words(figure: Figure) -> str:
    """Everything that can be read in a figure."""
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    return "\n".join(texts)


def test_a_head_and_a_channel_are_marked_as_large_as_they_are():
    figure = plotting.plot_group_ownership(tiny_sam(size=64, width=32, depth=2).encoder, block=1, head=2, channel=5)
    read = words(figure)
    assert "96 × 32" in read and "32 × 128" in read and "one channel: 65" in read
    shared, *others = figure.axes[0].patches
    marked = [patch for patch in others if patch.get_facecolor() != shared.get_facecolor()]
    assert len(marked) == 3 * 8 + 8 + 2, "rows of query, key and value, columns of the projection, the channel's two"
    assert sum(patch.get_width() * patch.get_height() for patch in marked) == 3 * 8 * 32 + 8 * 32 + 32 + 32


def test_every_block_has_its_heads():
    encoders = {
        "one": tiny_sam(size=64, width=32, depth=2).encoder,
        "two": tiny_sam(size=64, width=48, depth=3).encoder,
    }
    figure = plotting.plot_architectures(encoders)
    assert [len(axes.patches) for axes in figure.axes] == [2 * (4 + 2), 3 * (4 + 2)]
    for axes, encoder in zip(figure.axes, encoders.values()):
        assert f"{sum(p.numel() for p in encoder.parameters()):,}" in axes.get_title(loc="left")


def test_pulls_share_one_scale():
    band, small = np.eye(4, dtype=bool), np.full((4, 4), 0.5)
    figure = plotting.plot_pull(np.zeros((8, 8, 3), np.uint8), band, {"weak": small, "strong": 3 * small})
    limits = [axes.images[0].get_clim() for axes in figure.axes[1:3]]
    assert limits == [(0, 1.5), (0, 1.5)]


def test_scores_below_the_line_are_shown():
    zero, reset = [np.array([10.0, 20.0]), np.array([30.0])], [np.array([0.1, 0.3]), np.array([0.2])]
    axes = plotting.plot_two_scores(zero, reset).axes[0]
    assert [len(c.get_offsets()) for c in axes.collections] == [2, 1]
    assert axes.get_ylim()[0] < 0.1 and axes.get_ylim()[1] >= 30


def test_the_spread_that_reset_would_need_is_the_theorys():
    axes = plotting.plot_reset_spread([np.array([0.5])], [np.array([0.01])]).axes[0]
    rho, needed = axes.lines[0].get_data()
    assert np.interp(0.5, rho, needed) == pytest.approx(3, rel=1e-2)


def test_heads_without_which_the_loss_falls_are_marked():
    panel = plotting.Forecast("truth", np.array([1.0, 2.0, 4.0]), np.array([5.0, -3.0, 50.0]))
    axes = plotting.plot_forecasts([panel, panel], "Δzero").axes[0]
    rising, falling = axes.collections[:2]
    assert len(rising.get_offsets()) == 2 and len(falling.get_offsets()) == 1


def test_a_model_may_lack_a_score():
    whole = {"zero": RankAgreement(0.5, (0.2, 0.8), 4), "reset": RankAgreement(0.1, (-0.2, 0.4), 4)}
    figure = plotting.plot_rank_agreement({"truth": {"a": whole, "b": {"zero": whole["zero"]}}}, ["zero", "reset"])
    read = words(figure)
    assert all(word in read for word in ("truth", "zero", "reset", "a", "b"))


def test_an_agreement_may_lack_an_interval():
    single = {"truth": {"a": {"zero": RankAgreement(0.5, None, 1)}}}
    _, *drawn = plotting.plot_rank_agreement(single, ["zero"]).axes[0].lines
    assert [list(line.get_xdata()) for line in drawn] == [[0.5]]


def test_heads_that_change_places_look_different():
    scores = np.array([[1.0, 5.0], [2.0, 4.0], [9.0, 9.0]])
    axes = plotting.plot_rank_changes({"block 1": scores}, ["1", "2"], "loss ×").axes[0]
    colours = [line.get_color() for line in axes.lines[:3]]
    assert colours[0] == colours[1] != colours[2]
