"""The figure that compares methods shows every repetition, every mean and every control."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

from medlib.plotting import plot_arms

SCORES = {"dual": {"pruned": [0.2, 0.4], "recovered": [0.5, 0.7]}, "chance": {"pruned": [0.1, 0.3]}}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_repetitions_and_their_mean_lie_on_the_row_of_the_method():
    axes = plot_arms(SCORES, {}, "Boundary F1").axes[0]
    drawn = [collection.get_offsets().tolist() for collection in axes.collections]
    assert drawn[:2] == [[[0.2, 0], [0.4, 0]], [[0.1, 1], [0.3, 1]]]
    assert drawn[2] == [pytest.approx([0.3, 0]), pytest.approx([0.2, 1])]
    assert drawn[3:] == [[[0.5, 0], [0.7, 0]], [pytest.approx([0.6, 0])]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["dual", "chance"] and axes.yaxis_inverted()
    assert axes.get_xlabel() == "Boundary F1"


def test_stages_differ_in_colour_and_shape():
    small, *_, large = plot_arms(SCORES, {}, "Boundary F1").axes[0].collections
    assert small.get_facecolor()[0, :3].tolist() != large.get_facecolor()[0, :3].tolist()
    assert len(small.get_paths()[0].vertices) != len(large.get_paths()[0].vertices)


def test_controls_are_lines_and_the_legend_names_all():
    figure = plot_arms(SCORES, {"dense": 0.8, "dense, trained": 0.9}, "Boundary F1")
    assert [list(line.get_xdata()) for line in figure.axes[0].lines] == [[0.8, 0.8], [0.9, 0.9]]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(named) == ["dense", "dense, trained", "pruned", "recovered"]
