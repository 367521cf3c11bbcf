"""A trial's logits are those of the repaired, compact model, computed once for the same content."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medlib.data import polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning import Pictures, PruningMasks, RepairTrial, compact, compensate, masked, reconstruction_curves
from medlib.store import ArtefactStore

torch.set_num_threads(1)
BOXES = np.array([[10.0, 12.0, 50.0, 40.0], [5.0, 5.0, 60.0, 60.0]])


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return tiny_sam(size=64, width=32, depth=2)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    one, two = polyp_phantoms(2, size=64).images
    return [one, two[:62]]


@pytest.fixture(scope="module")
def calibration(model: Segmenter) -> torch.Tensor:
    return model.inputs(polyp_phantoms(3, size=64, seed=5).images)


@pytest.fixture(scope="module")
def weights() -> torch.Tensor:
    return 1 + torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pictures(model: Segmenter, images: list[np.ndarray]) -> Pictures:
    return Pictures(model, images, BOXES)


@pytest.fixture
def trial(model, pictures, calibration, weights, tmp_path: Path) -> RepairTrial:
    return RepairTrial(model, pictures, calibration, ArtefactStore(tmp_path), weights)


def close(found: list[np.ndarray], expected: list[torch.Tensor]) -> bool:
    assert [field.shape for field in found] == [tuple(field.shape) for field in expected]
    return all(np.allclose(one, other, atol=1e-4) for one, other in zip(found, expected, strict=True))


def test_pictures_are_what_the_segmenter_says(model, pictures, images):
    found = pictures.logits(model.encoder)
    assert [field.shape for field in found] == [(64, 64), (62, 64)] and found[0].dtype == np.float32
    assert close(found, model.logits(images, BOXES))


def test_pictures_take_another_encoder(model, pictures, images, trial):
    masks = trial.curves.select(0.25)
    smaller = compact(model.encoder, masks)
    assert close(pictures.logits(smaller), model.with_encoder(smaller).logits(images, BOXES))
    assert not close(pictures.logits(smaller), model.logits(images, BOXES))


def test_pictures_of_two_segmenters_are_not_taken_for_one_another(model, pictures, images):
    other = Pictures(tiny_sam(size=64, width=32, depth=2, seed=1), images, BOXES)
    assert other.key["segmenter"] != pictures.key["segmenter"]


@pytest.mark.parametrize("repair", ["fold", "reconstruct"])
def test_logits_are_those_of_the_compensated_compact_model(model, images, calibration, weights, trial, repair: str):
    masks = trial.curves.select(0.25)
    whole = compensate(model.encoder, masks, calibration, method=repair, token_weights=weights)
    found, expected = trial.logits(masks, repair), model.with_encoder(compact(whole, masks)).logits(images, BOXES)
    assert close(found, expected)
    assert not close(found, [torch.from_numpy(field) for field in trial.logits(masks, "none")])


def test_without_repair_it_is_the_masked_model(model, images, trial):
    masks = trial.curves.select(0.25)
    with masked(model.encoder, masks):
        expected = model.logits(images, BOXES)
    assert close(trial.logits(masks, "none"), expected)


def test_curves_are_those_of_the_calibration_and_choose_alike(model, calibration, weights, trial):
    expected = reconstruction_curves(model.encoder, calibration, weights)
    for found, curve in zip((*trial.curves.heads, *trial.curves.channels), (*expected.heads, *expected.channels)):
        assert torch.equal(found.order, curve.order) and torch.equal(found.error, curve.error)
        assert found.groups == curve.groups
    for one, other in zip(trial.curves.select(0.25).channels, expected.select(0.25).channels, strict=True):
        assert torch.equal(one, other)


def test_a_second_run_computes_nothing(model, pictures, calibration, weights, trial, tmp_path, monkeypatch):
    masks = trial.curves.select(0.25)
    first = trial.logits(masks, "reconstruct")
    for name in ("reconstruction_curves", "Compensator", "compact"):
        monkeypatch.setattr(f"medlib.pruning.repair_trial.{name}", lambda *_: pytest.fail("computed again"))
    again = RepairTrial(model, pictures, calibration, ArtefactStore(tmp_path), weights)
    assert all(map(np.array_equal, again.logits(again.curves.select(0.25), "reconstruct"), first))


def test_other_weights_masks_and_repairs_have_logits_of_their_own(model, pictures, calibration, trial, tmp_path):
    masks, intact = trial.curves.select(0.25), PruningMasks.keep_all(model.encoder)
    plain = RepairTrial(model, pictures, calibration, ArtefactStore(tmp_path))
    found = [trial.logits(masks, "reconstruct"), trial.logits(masks, "fold"), trial.logits(intact, "none")]
    found.append(plain.logits(masks, "reconstruct"))
    for i, one in enumerate(found):
        assert not any(np.array_equal(one[0], other[0]) for other in found[:i])


def test_the_model_is_left_as_it_was(model, trial):
    before = model.digest()
    trial.logits(trial.curves.select(0.25), "reconstruct")
    assert model.digest() == before and not model.encoder.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.network.modules())


def test_an_unknown_repair_is_named(model, trial):
    with pytest.raises(ValueError, match="unknown method 'refit'"):
        trial.logits(PruningMasks.keep_all(model.encoder), "refit")
