"""Masks spoilt in four ways to one Dice."""

import numpy as np
import pytest

from medlib.boundary import dice, hd95, same_dice


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:128, :128]
    return (rows - 60) ** 2 + (columns - 70) ** 2 <= 30**2


@pytest.mark.parametrize("target", [0.7, 0.9, 0.95])
def test_every_corruption_reaches_the_target(disc, target):
    spoilt = same_dice(disc, target, np.random.default_rng(0))
    assert set(spoilt) == {"shifted", "shrunk", "ragged", "false island"}
    for name, mask in spoilt.items():
        assert dice(mask, disc) == pytest.approx(target, abs=0.015), name


def test_corruptions_are_what_their_names_say(disc):
    spoilt = same_dice(disc, 0.9, np.random.default_rng(0))
    assert not (spoilt["shrunk"] & ~disc).any()
    assert not (disc & ~spoilt["false island"]).any()
    assert abs(int(spoilt["shifted"].sum()) - int(disc.sum())) < 0.02 * disc.sum()
    assert hd95(spoilt["false island"], disc) > 3 * hd95(spoilt["ragged"], disc)


def test_the_same_generator_gives_the_same_masks_and_leaves_the_input(disc):
    before = disc.copy()
    first, second = (same_dice(disc, 0.9, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert np.array_equal(before, disc)


@pytest.mark.parametrize(
    ("mask", "message"), [(np.zeros((8, 8), bool), "no boundary"), (np.ones((8, 8), bool), "no boundary")]
)
def test_a_mask_without_boundary_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        same_dice(mask, 0.9, np.random.default_rng(0))


def test_an_unreachable_target_is_refused(disc):
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        same_dice(disc, 1.0, np.random.default_rng(0))
