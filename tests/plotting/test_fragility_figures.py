"""Figures about grids of budgets show every model and every step, and leave the data as it was."""

import matplotlib

matplotlib.use("Agg")

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest

from medlib.plotting import Estimate, plot_budget_maps, plot_estimates, plot_step_chains, plot_steps
from medlib.pruning.budget_grid import BudgetGrid, GridStep
from medlib.pruning.fragility import StepLeverage

GRID = BudgetGrid((0.0, 0.1), (0.0, 0.02, 0.05), {}, (0.0, 2.9), (0.0, 1.1, 2.7))


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def words(figure: plt.Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_budget_maps_put_every_model_where_its_budgets_say():
    scores = np.array([[0.91, 0.82, 0.73], [0.64, 0.55, 0.46]])
    figure = plot_budget_maps({"Dice": scores, "HD95 (px)": 10 * scores}, GRID, ["HD95 (px)"])
    dice, hd95 = figure.axes
    assert [text.get_text() for text in dice.texts] == ["0.91", "0.64", "0.82", "0.55", "0.73", "0.46"]
    assert dice.texts[1].get_position() == (1.5, 0.5) and not dice.yaxis_inverted()
    assert [t.get_text() for t in dice.get_xticklabels()] == ["0%\n(0.0)", "10%\n(2.9)"]
    assert [t.get_text() for t in dice.get_yticklabels()] == ["0%\n(0.0)", "2%\n(1.1)", "5%\n(2.7)"]
    assert dice.collections[0].cmap.name == "cividis" and hd95.collections[0].cmap.name == "cividis_r"
    assert "(lower is better)" in hd95.get_title() and "(higher is better)" in dice.get_title()
    assert [t.get_text() for t in hd95.get_yticklabels()] == []


def test_step_chains_join_the_steps_of_one_start_by_size():
    def measured(start: tuple[int, int], points: float, leverage: float) -> StepLeverage:
        return StepLeverage(GridStep(start, (9, 9), points), np.full(3, leverage), np.ones(3))

    steps = [measured((0, 0), 4.0, 1.0), measured((0, 0), 1.0, 3.0), measured((1, 0), 2.0, 2.0)]
    figure = plot_step_chains({"heads": steps, "channels": steps[2:]})
    lines = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert lines == [[[1.0, 3.0], [4.0, 1.0]], [[2.0, 2.0]], [[2.0, 2.0]]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["heads", "channels"]


def test_steps_of_each_kind_have_their_own_marker_and_label():
    figure = plot_steps({"a": ([1, 2], [0.1, -0.1]), "b": ([5], [0.3])}, "x (px)", "lost")
    found = [collection.get_offsets().tolist() for collection in figure.axes[0].collections]
    assert found == [[[1, 0.1], [2, -0.1]], [[5, 0.3]]]
    assert {"a", "b", "x (px)", "lost", "1", "2", "5"} <= set(words(figure))


def test_estimates_show_values_intervals_and_marks():
    rows = {
        "τ = 1": {"one": Estimate(2.0, (1.5, 3.0)), "other": Estimate(1.2, None)},
        "RLR": {"other": Estimate(0.9, (0.8, 1.1))},
    }
    figure = plot_estimates(rows, "ratio", {"equal": 1.0, "published": 2.9})
    axes = figure.axes[0]
    drawn = [line.get_xdata() for line in axes.lines]
    assert [list(x) for x in drawn] == [[1.0, 1.0], [2.9, 2.9], [2.0], [1.5, 3.0], [1.2, 0.9], [0.8, 1.1]]
    assert axes.yaxis_inverted() and axes.get_xscale() == "log"
    assert {"τ = 1", "RLR", "ratio", "equal", "published", "one", "other"} <= set(words(figure))
