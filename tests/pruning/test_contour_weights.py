"""Weights follow the contour that the model predicts, and nothing else."""

import numpy as np
import pytest
import torch

from medlib.boundary import boundary_band
from medlib.data import boxes_from_masks, polyp_phantoms
from medlib.models import Segmenter, tiny_sam
from medlib.pruning.contour_weights import contour_weights
from medlib.pruning.reconstruction import reconstruction_curves

torch.set_num_threads(1)
SAMPLES = polyp_phantoms(3, size=128)
BOXES = boxes_from_masks(SAMPLES.masks)


@pytest.fixture
def model() -> Segmenter:
    return tiny_sam(depth=1)


def smooth_logits() -> torch.Tensor:
    noise = torch.randn(3, 1, 80, 80, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 17, stride=1)[:, 0]


def drawing(monkeypatch: pytest.MonkeyPatch, model: Segmenter, logits: torch.Tensor) -> Segmenter:
    """The model, made to predict these low-resolution logits."""
    monkeypatch.setattr(model, "decode", lambda embeddings, boxes: logits)
    return model


@pytest.mark.parametrize(("strength", "radius"), [(4.0, 2), (0.5, 1), (9.0, 3.5)])
def test_places_near_the_predicted_contour_weigh_more(monkeypatch, model, strength, radius):
    logits = smooth_logits()
    found = contour_weights(drawing(monkeypatch, model, logits), SAMPLES.images, BOXES, strength, radius)
    assert found.shape == logits.shape == (3, 64, 64) and found.dtype == torch.float32
    for weights, field in zip(found, logits):
        band = boundary_band(field > 0, radius)
        assert 0 < band.mean() < 1
        np.testing.assert_allclose(weights, np.where(band, 1 + strength, 1))


def test_the_band_has_its_radius_on_both_sides(monkeypatch, model):
    logits = torch.full((3, 64, 64), -5.0)
    logits[:, :, 20:] = 0.1
    found = contour_weights(drawing(monkeypatch, model, logits), SAMPLES.images, BOXES)
    assert (found[:, :, 18:22] == 5).all() and (found == 5).sum() == 3 * 64 * 4


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_without_a_contour_all_places_count_alike(monkeypatch, model, sign):
    blank = drawing(monkeypatch, model, torch.full((3, 64, 64), sign))
    assert (contour_weights(blank, SAMPLES.images, BOXES) == 1).all()


def test_the_prediction_is_that_of_the_model_at_low_resolution(model):
    with torch.no_grad():
        logits = model.decode(model.embed(SAMPLES.images), model.boxes(SAMPLES.images, BOXES))
    expected = np.stack([boundary_band(field > 0, 1) for field in logits])
    assert 0.1 < expected.mean() < 0.99
    np.testing.assert_array_equal(contour_weights(model, SAMPLES.images, BOXES, strength=1, radius=1) == 2, expected)


def test_no_strength_is_no_weighting(model):
    assert (contour_weights(model, SAMPLES.images, BOXES, strength=0) == 1).all()


def test_they_are_token_weights(model):
    weights, inputs = contour_weights(model, SAMPLES.images, BOXES), model.inputs(SAMPLES.images)
    found, plain = (reconstruction_curves(model.encoder, inputs, given).channels[0] for given in (weights, None))
    assert not np.allclose(found.error, plain.error, rtol=1e-4)


def test_the_model_is_left_as_it_was(model):
    before = model.digest()
    model.encoder.train()
    weights = contour_weights(model, SAMPLES.images, BOXES)
    assert model.digest() == before and model.encoder.training and not weights.requires_grad
    assert all(parameter.grad is None for parameter in model.network.parameters())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"strength": -1.0}, ValueError, "strength is -1.0"),
        ({"strength": np.inf}, ValueError, "strength is inf"),
        ({"strength": np.nan}, ValueError, "strength is nan"),
        ({"radius": 0.5}, ValueError, "radius is 0.5"),
        ({"radius": np.inf}, ValueError, "radius is inf"),
        ({"boxes": BOXES[:1]}, ValueError, "3 images with 1 boxes"),
        ({"images": []}, ValueError, "0 images"),
        ({"images": [image / 255 for image in SAMPLES.images]}, TypeError, "images are uint8"),
    ],
)
def test_input_that_cannot_be_used(model, change, error, message):
    with pytest.raises(error, match=message):
        contour_weights(**{"segmenter": model, "images": SAMPLES.images, "boxes": BOXES, **change})


def test_a_broken_model(monkeypatch, model):
    with pytest.raises(ValueError, match="NaN or infinite"):
        contour_weights(drawing(monkeypatch, model, torch.full((3, 64, 64), torch.nan)), SAMPLES.images, BOXES)
