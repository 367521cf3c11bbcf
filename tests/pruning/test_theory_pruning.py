"""Numbers and identities of the theory pages of Part II, in float64; by the library's functions where it has them."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from medlib.pruning.budgets import allocate
from medlib.pruning.groups import GroupValues
from medlib.pruning.scores import GroupScores, combine, mixing_weights, normalised

torch.set_num_threads(1)
REMOVED, KEPT = [1, 4], [0, 2, 3, 5, 6]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def covariance(rng: np.random.Generator) -> np.ndarray:
    root = rng.normal(size=(7, 7))
    return root @ root.T


@pytest.fixture
def weight(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 7))


def logistic(t: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-t))


def one_block(zero: list[float], reset: list[float]) -> GroupScores:
    """Scores of an encoder with one block whose channels score as its heads do."""
    both = (torch.tensor(values, dtype=torch.float64) for values in (zero, reset))
    return GroupScores(*(GroupValues((values,), (values,)) for values in both))


def resolved(weight: np.ndarray, covariance: np.ndarray, kept: list[int]) -> np.ndarray:
    """Least-squares weights of the kept inputs: W Σ_{:K} Σ_KK⁻¹."""
    return weight @ covariance[:, kept] @ np.linalg.inv(covariance[np.ix_(kept, kept)])


def price(weight: np.ndarray, covariance: np.ndarray, removed: list[int]) -> float:
    """What removing inputs costs when the others make up for them: tr(W_S ((Σ⁻¹)_SS)⁻¹ W_Sᵀ)."""
    rest = np.linalg.inv(np.linalg.inv(covariance)[np.ix_(removed, removed)])
    return float(np.trace(weight[:, removed] @ rest @ weight[:, removed].T))


def left(weight: np.ndarray, covariance: np.ndarray, kept: list[int], kept_weight: np.ndarray) -> float:
    """Mean squared error of the centred output when the kept inputs have these weights and the others none."""
    change = weight.copy()
    change[:, kept] -= kept_weight
    return float(np.trace(change @ covariance @ change.T))


# Dual intervention ------------------------------------------------------------------------------------------------


def test_the_contour_carries_the_fisher_information() -> None:
    assert quad(lambda t: logistic(t) * logistic(-t), -4, 4)[0] == pytest.approx(0.964, abs=5e-4)
    assert 2 * quad(lambda t: logistic(-t) ** 2, 0, 60)[0] == pytest.approx(2 * math.log(2) - 1)
    rows, columns = np.mgrid[-80.0:80, -80:80]
    for slope in (0.5, 1.0):  # δ = 1 on a disc of radius 40: the contour integral is its length over the slope
        logits = slope * (40 - np.hypot(rows, columns))
        assert (logistic(logits) * logistic(-logits)).sum() == pytest.approx(2 * math.pi * 40 / slope, rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "published", "exponential", "linear"),
    [(100, 5.0, 4.451, 17.0), (4, 1.0, 0.840, 1.0), (1 / 4, 0.25, 0.331, 0.375), (1 / 100, 0.05, 0.170, 0.335)],
)
def test_the_geometric_mean_against_two_paths(
    ratio: float, published: float, exponential: float, linear: float
) -> None:
    kappa = math.log(ratio)
    assert math.sqrt(ratio) / 2 == pytest.approx(published)
    assert quad(lambda t: (1 - t) * ratio**t, 0, 1)[0] == pytest.approx((ratio - 1 - kappa) / kappa**2)
    assert (ratio - 1 - kappa) / kappa**2 == pytest.approx(exponential, abs=6e-4)
    assert 1 / 3 + ratio / 6 == pytest.approx(linear, abs=6e-4)
    assert math.sqrt(ratio) < (ratio - 1) / kappa < (1 + ratio) / 2


def test_a_rotation_inside_a_head_changes_the_diagonal_score_only() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs, targets, values, outputs = draw(9, 5), draw(9, 3), draw(4, 5), draw(3, 4)

    def full_and_diagonal(values: Tensor, outputs: Tensor) -> tuple[float, float]:
        weights, full, diagonal = (values.requires_grad_(), outputs.requires_grad_()), 0.0, 0.0
        for x, y in zip(inputs, targets, strict=True):
            gradients = torch.autograd.grad((outputs @ values @ x - y).square().sum(), weights)
            products = torch.cat([(g * w).flatten() for g, w in zip(gradients, weights, strict=True)]).detach()
            full, diagonal = full + float(products.sum()) ** 2, diagonal + float(products.square().sum())
        return full, diagonal

    full, diagonal = full_and_diagonal(values.clone(), outputs.clone())
    turn, scale = torch.linalg.qr(draw(4, 4))[0], torch.diag(torch.tensor([2.0, 0.5, 3, 1], dtype=torch.float64))
    turned = full_and_diagonal(turn @ values, outputs @ turn.T)
    scaled = full_and_diagonal(scale @ values, outputs @ torch.linalg.inv(scale))
    assert scaled == pytest.approx((full, diagonal))
    assert turned[0] == pytest.approx(full)
    assert abs(turned[1] / diagonal - 1) > 0.05


@pytest.mark.parametrize(("slope", "alpha"), [(0.01, 1.0), (-0.01, 0.0)])
def test_reset_is_switched_off_when_it_agrees(slope: float, alpha: float) -> None:
    zero = [1.0, 5, 2, 4]
    scores = one_block(zero, [slope * z + 1 for z in zero])
    assert mixing_weights(scores).item() == pytest.approx(alpha)
    assert mixing_weights(normalised(scores)).item() == pytest.approx(alpha)


def test_the_mixture_follows_the_score_that_spreads_wider(rng: np.random.Generator) -> None:
    zero = rng.normal(size=400)
    reset = 0.03 * (zero + rng.normal(size=400))
    scores = one_block(zero.tolist(), reset.tolist())
    rho, spread = np.corrcoef(zero, reset)[0, 1], reset.std() / zero.std()
    mixed = combine([scores], mixing_weights(scores), [1.0]).heads[0].numpy()
    w = spread * (1 - rho) / (1 + rho)
    expected = (1 + w * rho) / math.sqrt(1 + 2 * w * rho + w**2)
    assert np.corrcoef(mixed, zero)[0, 1] == pytest.approx(expected)
    assert math.sqrt(1 - w**2) <= expected < 1


def test_the_penalty_orders_groups_by_the_unit_of_the_loss() -> None:
    def totals(unit: float) -> list[float]:
        sets = [one_block([unit**2 * first, unit**2 * 2.4], [0, 0]) for first in (1, 3)]
        return combine(sets, torch.ones(1), [0.5, 0.5], beta=0.3).heads[0].tolist()

    assert totals(1) == pytest.approx([2.3, 2.4])
    assert totals(2) == pytest.approx([12.8, 9.6])
    same = totals(math.sqrt((2.4 - 2) / 0.3))
    assert same[0] == pytest.approx(same[1])


def test_water_filling_is_the_cheapest_way_to_lose_forty_groups() -> None:
    sensitivity, groups = np.array([1.0, 10, 50, 100]), {"units": [20] * 4, "minimum": 1}

    def cost(quotas: tuple[int, ...]) -> float:
        return float((sensitivity * np.square(quotas)).sum() / 2)

    three = itertools.product(range(20), repeat=3)
    cheapest = min(((*q, 40 - sum(q)) for q in three if 0 <= 40 - sum(q) <= 19), key=cost)
    assert tuple(allocate(sensitivity, 0.5, **groups)) == cheapest == (19, 16, 3, 2)
    assert allocate(sensitivity, 0.5, **groups, rule="authors") == [19, 4, 1, 16]
    assert [cost(q) for q in ((19, 4, 1, 16), (10,) * 4, cheapest)] == pytest.approx([13086, 8050, 1886], abs=0.51)


# Compensation -----------------------------------------------------------------------------------------------------


def test_repairs_and_their_prices(covariance: np.ndarray, weight: np.ndarray) -> None:
    inverse = np.linalg.inv(covariance)
    repaired = resolved(weight, covariance, KEPT)
    correction = np.linalg.inv(inverse[np.ix_(REMOVED, REMOVED)]) @ inverse[np.ix_(REMOVED, KEPT)]
    np.testing.assert_allclose(repaired, weight[:, KEPT] - weight[:, REMOVED] @ correction)
    best, folded = (left(weight, covariance, KEPT, w) for w in (repaired, weight[:, KEPT]))
    assert best == pytest.approx(price(weight, covariance, REMOVED))
    assert best < folded


def test_prices_add_up_along_the_way(covariance: np.ndarray, weight: np.ndarray) -> None:
    inverse = np.linalg.inv(covariance)
    blocks = [inverse[np.ix_(a, b)] for a in (KEPT, REMOVED) for b in (KEPT, REMOVED)]
    downdated = blocks[0] - blocks[1] @ np.linalg.inv(blocks[3]) @ blocks[2]
    smaller = covariance[np.ix_(KEPT, KEPT)]
    np.testing.assert_allclose(downdated, np.linalg.inv(smaller), atol=1e-10)
    first, second = price(weight, covariance, REMOVED), price(resolved(weight, covariance, KEPT), smaller, [0, 3])
    assert first + second == pytest.approx(price(weight, covariance, [*REMOVED, KEPT[0], KEPT[3]]))


def test_ridge_lies_between_resolving_and_folding(covariance: np.ndarray, weight: np.ndarray) -> None:
    kept, cross = covariance[np.ix_(KEPT, KEPT)], weight[:, REMOVED] @ covariance[np.ix_(REMOVED, KEPT)]
    errors = [
        left(weight, covariance, KEPT, weight[:, KEPT] + cross @ np.linalg.inv(kept + ridge * np.eye(5)))
        for ridge in (0, 0.1, 1, 10, 1e9)
    ]
    assert errors == sorted(errors)
    assert errors[0] == pytest.approx(price(weight, covariance, REMOVED))
    assert errors[-1] == pytest.approx(left(weight, covariance, KEPT, weight[:, KEPT]))


def test_what_arrives_is_mended_with_the_rest(rng: np.random.Generator, weight: np.ndarray) -> None:
    inputs = rng.normal(size=(500, 7)) @ rng.normal(size=(7, 7))
    target = inputs @ weight.T + 0.3 * inputs[:, :3] ** 2 + rng.normal(size=(500, 3))
    inputs, target = inputs - inputs.mean(0), target - target.mean(0)

    def unexplained(columns: list[int]) -> tuple[np.ndarray, float]:
        fit = np.linalg.lstsq(inputs[:, columns], target, rcond=None)[0]
        return fit.T, float((target - inputs[:, columns] @ fit).var(0).sum())

    whole, mended = unexplained(list(range(7)))
    assert unexplained(KEPT)[1] == pytest.approx(mended + price(whole, inputs.T @ inputs / 500, REMOVED))


def test_worked_examples_of_compensation() -> None:
    pair = np.array([[1, 0.9], [0.9, 1]])
    assert price(np.array([[1.0, 0]]), pair, [0]) == pytest.approx(0.19)
    assert np.array([1, -0.9]) @ (pair * [[1, -1], [-1, 1]]) @ [1, -0.9] == pytest.approx(3.43)

    one, r = np.array([[1.0, 1, 0]]), math.sqrt(0.45)
    three = np.array([[1, 0, r], [0, 1, r], [r, r, 1]])
    assert [price(one, three, s) for s in ([2], [1, 2], [0, 1])] == pytest.approx([0, 1, 0.2], abs=1e-12)

    two = np.array([[1, -0.9]])
    first, both = price(two, pair, [1]), price(two, pair, [0, 1])
    assert (first, both - first) == pytest.approx((0.154, 0.036), abs=5e-4)
    assert first < price(two, pair, [0])


def test_probes_measure_the_change_of_the_logits(rng: np.random.Generator) -> None:
    jacobian, error = rng.normal(size=(8, 5)), rng.normal(size=5)
    signs = np.array(list(itertools.product((-1, 1), repeat=8)))  # all of them: the exact expectation
    probes = ((signs @ jacobian) @ error) ** 2
    size = float(np.square(jacobian @ error).sum())
    assert probes.mean() == pytest.approx(size)
    assert probes.std() <= math.sqrt(2) * size


def test_errors_on_new_tokens(rng: np.random.Generator) -> None:
    tokens, kept, explained, repeats = 20, 6, 0.5, 4000
    slope = np.full(kept, math.sqrt(explained / kept))
    x = rng.normal(size=(repeats, tokens, kept))
    y = x @ slope + math.sqrt(1 - explained) * rng.normal(size=(repeats, tokens))
    x_mean, y_mean = x.mean(1), y.mean(1)
    x, y = x - x_mean[:, None], y - y_mean[:, None]
    fit = np.linalg.solve(x.mT @ x, (x.mT @ y[..., None]))[..., 0]
    offset = y_mean - (fit * x_mean).sum(1)
    new = 1 - explained + np.square(fit - slope).sum(1) + offset**2
    expected = (1 - explained) * (1 + 1 / tokens) * (tokens - 2) / (tokens - kept - 2)
    assert new.mean() == pytest.approx(expected, rel=0.02)
    assert (1 + y_mean**2).mean() == pytest.approx(1 + 1 / tokens, rel=0.01)
