"""Greedy removal against least squares done the slow way, on the tokens themselves."""

import math

import numpy as np
import pytest
import torch

from medlib.pruning.removal_curve import RemovalCurve, regularised, removal_curve

torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tokens(rng: np.random.Generator) -> np.ndarray:
    return 2 + rng.normal(size=(90, 8)) @ rng.normal(size=(8, 8))


@pytest.fixture
def weight(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 8))


def share_lost(weight: np.ndarray, tokens: np.ndarray, removed: list[int], ridge: float = 0.0) -> float:
    """Least-squares loss of the kept inputs, fitted on the tokens; the ridge as extra tokens that pull to `weight`."""
    centred = tokens - tokens.mean(0)
    strength = ridge * np.square(centred).mean()
    centred = np.concatenate([centred / math.sqrt(len(centred)), math.sqrt(strength) * np.eye(centred.shape[1])])
    target = centred @ weight.T
    kept = [i for i in range(centred.shape[1]) if i not in removed]
    fit = np.linalg.lstsq(centred[:, kept], target, rcond=None)[0]
    return float(np.square(target - centred[:, kept] @ fit).sum() / np.square(target).sum())


def curve(weight: np.ndarray, tokens: np.ndarray, size: int = 1, keep: int = 1, **options: float) -> RemovalCurve:
    covariance = np.cov(tokens.T, ddof=0)
    return removal_curve(torch.from_numpy(weight).float(), torch.from_numpy(covariance), size, keep, **options)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_error_is_that_of_a_least_squares_fit(weight, tokens, size, ridge):
    weight = weight.astype(np.float32)
    found = curve(weight, tokens, size, ridge=ridge)
    assert len(found.order) == len(found.error) == 8 // size - 1
    for count, error in enumerate(found.error.tolist(), start=1):
        removed = [group * size + i for group in found.order[:count].tolist() for i in range(size)]
        assert error == pytest.approx(share_lost(weight, tokens, removed, ridge), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2])
def test_every_choice_is_the_cheapest_that_is_left(weight, tokens, size):
    weight, gone = weight.astype(np.float32), []
    for group in curve(weight, tokens, size, ridge=0.0).order.tolist():
        rest = [g for g in range(8 // size) if g not in gone]
        prices = {g: share_lost(weight, tokens, [h * size + i for h in [*gone, g] for i in range(size)]) for g in rest}
        assert group == min(prices, key=prices.get)
        gone.append(group)


@pytest.mark.parametrize(("size", "keep"), [(1, 1), (1, 60), (4, 1), (4, 5)])
def test_groups_go_once_and_the_error_never_falls(rng, size, keep):
    tokens, weight = rng.normal(size=(400, 200)) @ rng.normal(size=(200, 200)), rng.normal(size=(5, 200))
    found = curve(weight, tokens, size, keep)
    assert len(found.order) == len(found.order.unique()) == 200 // size - keep == found.groups - keep
    assert (found.error.diff() >= 0).all() and 0 <= found.error[0] and found.error[-1] <= 1


def test_several_at_once_are_charged_what_they_cost_together(rng):
    tokens, weight = rng.normal(size=(400, 40)) @ rng.normal(size=(40, 40)), rng.normal(size=(5, 40))
    weight = weight.astype(np.float32)
    found = curve(weight, tokens, ridge=0.0, rounds=8)
    for end in range(5, 40, 5):
        lost = share_lost(weight, tokens, found.order[:end].tolist())
        assert found.error[end - 1] == pytest.approx(lost, rel=1e-8)


def test_what_another_input_can_stand_in_for_goes_first_and_costs_nothing(weight, tokens):
    tokens[:, 6] = 5 - 2 * tokens[:, 1]
    found = curve(weight, tokens, ridge=1e-9)
    assert int(found.order[0]) in (1, 6) and found.error[0] < 1e-6
    assert found.error[1] > 1e-4


def test_greedy_may_regret():
    """The example of the book: one input may stay, and the one that greedy removes first would have been best."""
    r = math.sqrt(0.45)
    covariance = torch.tensor([[1, 0, r], [0, 1, r], [r, r, 1]], dtype=torch.float64)
    found = removal_curve(torch.tensor([[1.0, 1.0, 0.0]]), covariance, 1, 1, ridge=0.0)
    assert int(found.order[0]) == 2
    np.testing.assert_allclose(found.error, [0, 1 / 2], atol=1e-12)


def test_inputs_without_weight_go_first_at_no_cost(rng):
    tokens, weight = rng.normal(size=(400, 200)), rng.normal(size=(5, 200))
    dead = rng.permutation(200)[:120]
    weight[:, dead] = 0
    found = curve(weight, tokens)
    assert set(found.order[:120].tolist()) == set(dead.tolist())
    assert (found.error[:120] == 0).all() and found.error[120] > 0
    assert torch.isfinite(curve(0 * weight, tokens).error).all()


def test_inputs_that_never_vary_give_finite_errors(weight):
    found = removal_curve(torch.from_numpy(weight), torch.zeros(8, 8, dtype=torch.float64), 1, 1)
    assert torch.isfinite(found.error).all() and (found.error.diff() >= 0).all()


def test_nothing_to_remove(weight, tokens):
    found = curve(weight, tokens, size=2, keep=4)
    assert len(found.order) == len(found.error) == 0
    torch.ones(4)[found.order] = 0  # it is an index


def test_the_ridge_is_a_share_of_the_mean_variance():
    covariance = torch.diag(torch.tensor([1.0, 5.0], dtype=torch.float64))
    np.testing.assert_allclose(regularised(covariance, 0.1), [[1.3, 0], [0, 5.3]])
    assert torch.linalg.inv(regularised(0 * covariance, 1e-3)).isfinite().all()


def test_the_weights_handed_in_stay(weight, tokens):
    given, covariance = torch.from_numpy(weight), torch.from_numpy(np.cov(tokens.T))
    before = given.clone(), covariance.clone()
    removal_curve(given, covariance, 1, 1)
    assert all(map(torch.equal, before, (given, covariance)))
