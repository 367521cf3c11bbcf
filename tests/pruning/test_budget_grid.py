"""A grid of budgets: nested models, distinct budgets, steps of every size, and pairs of equal size."""

import numpy as np
import pytest
import torch

from medlib.models import sam_vit_b, tiny_sam
from medlib.pruning import encoder_blocks, removed_parameters
from medlib.pruning.budget_grid import (
    BudgetRules,
    GridStep,
    budget_grid,
    channel_floors,
    distinct_budgets,
    grid_steps,
    matched_steps,
)
from medlib.pruning.rival_scores import random_scores

HEADS, CHANNELS = (0.0, 0.25, 0.5), (0.0, 0.1, 0.3)
PUBLISHED_HEADS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PUBLISHED_CHANNELS = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95)
UNIFORM = BudgetRules("uniform", (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    return tiny_sam(size=64, width=32, depth=3).encoder


@pytest.fixture(scope="module")
def scores(encoder):
    return random_scores(encoder, np.random.default_rng(0))


@pytest.fixture(scope="module")
def grid(encoder, scores):
    return budget_grid(encoder, scores, HEADS, CHANNELS, UNIFORM)


def test_models_are_nested_and_counted(encoder, grid):
    size = sum(p.numel() for p in encoder.parameters())
    for (i, j), masks in grid.masks.items():
        assert sum(int((m == 0).sum()) for m in masks.heads) == round(HEADS[i] * 12)
        assert sum(int((m == 0).sum()) for m in masks.channels) == round(CHANNELS[j] * 384)
        points = grid.head_points[i] + grid.channel_points[j]
        assert points == pytest.approx(100 * removed_parameters(encoder, masks) / size)
        for before in ((i - 1, j), (i, j - 1)):
            for kind in ("heads", "channels") if before in grid.masks else ():
                pairs = zip(getattr(masks, kind), getattr(grid.masks[before], kind), strict=True)
                assert all(bool((new <= old).all()) for new, old in pairs)


def test_lowest_scores_go_first(grid, scores):
    for mask, values in zip(grid.masks[1, 1].channels, scores.channels, strict=True):
        assert values[mask == 0].max() < values[mask == 1].min()


def test_the_head_budget_changes_fastest(grid):
    assert list(grid.masks)[:4] == [(0, 0), (1, 0), (2, 0), (0, 1)]


def test_protected_blocks_and_floors_hold(encoder, scores):
    rules = BudgetRules("waterfill", (1.0, 100.0, 1.0), protected=(2,))
    assert rules.head_quotas(encoder_blocks(encoder), 0.5) == [3, 3, 0]
    assert channel_floors(encoder_blocks(encoder)) == [6, 6, 6]
    assert max(rules.channel_quotas(encoder_blocks(encoder), 0.5)) == 128 - 6
    with pytest.raises(ValueError, match="at most"):
        budget_grid(encoder, scores, (0.0, 0.7), CHANNELS, rules)


def test_budgets_that_remove_the_same_are_refused(encoder, scores):
    with pytest.raises(ValueError, match="distinct_budgets"):
        budget_grid(encoder, scores, (0.25, 0.26), CHANNELS, UNIFORM)


def test_the_published_sweep_has_24_models():
    with torch.device("meta"):
        blocks = encoder_blocks(sam_vit_b().encoder)
    rules = BudgetRules("authors", (1.0,) * 12, protected=(10, 11))
    heads, channels = rules.levels(blocks, PUBLISHED_HEADS, PUBLISHED_CHANNELS)
    assert len(heads) * len(channels) == 24
    assert heads == [0.3, 0.4, 0.5, 0.6, 0.7, 110 / 144] and channels == [0.3, 0.5, 0.7, 29180 / 36864]


def test_budgets_that_round_to_the_same_are_one():
    assert distinct_budgets([0.5, 0.0, 0.51, 0.75], [4], 1) == [0.0, 0.5, 0.75]


@pytest.mark.parametrize(("stride", "count"), [(1, 6), (2, 3), (None, 9)])
def test_steps_of_each_stride(grid, stride, count):
    for kind, axis in (("heads", 0), ("channels", 1)):
        steps = grid_steps(grid, kind, stride)
        assert len(steps) == len({(s.start, s.end) for s in steps}) == count
        for step in steps:
            assert step.end[axis] - step.start[axis] == (stride or step.end[axis] - step.start[axis]) > 0
            assert step.end[1 - axis] == step.start[1 - axis]
            points = grid.head_points if kind == "heads" else grid.channel_points
            assert step.points == points[step.end[axis]] - points[step.start[axis]] > 0


def test_steps_that_do_not_exist_are_refused(grid):
    with pytest.raises(ValueError, match="Give more budgets"):
        grid_steps(grid, "heads", 3)
    with pytest.raises(ValueError, match="not 'neck'"):
        grid_steps(grid, "neck")


def test_matched_steps_share_start_and_size():
    heads = [GridStep((0, 0), (1, 0), 2.0), GridStep((1, 0), (2, 0), 2.0)]
    channels = [GridStep((0, 0), (0, 1), 2.2), GridStep((0, 0), (0, 2), 3.0), GridStep((1, 1), (1, 2), 2.0)]
    assert matched_steps(heads, channels) == [(heads[0], channels[0])]
    assert matched_steps(heads, channels, tolerance=0.05) == []
