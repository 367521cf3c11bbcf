"""The Sobel gradient: exact on linear fields, differentiable, and what zero padding invents."""

import numpy as np
import pytest
import torch

from benchmarks.transcriptions import plain_gradient
from medlib.boundary import spatial_gradient


def test_a_linear_field_has_its_slope_everywhere_inside():
    row, column = np.mgrid[:20, :30].astype(float)
    gradient = spatial_gradient(3 * row - 4 * column + 7)
    np.testing.assert_allclose(gradient[1:-1, 1:-1], 5, rtol=1e-12)


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("shape", [(20, 30), (1, 5), (2, 3, 8, 9)])
def test_it_equals_the_transcription_on_every_leading_shape(padding, shape):
    logits = np.random.default_rng(0).normal(size=shape)
    fields = logits.reshape(-1, *shape[-2:])
    expected = np.stack([plain_gradient(field, padding) for field in fields]).reshape(shape)
    np.testing.assert_allclose(spatial_gradient(logits, padding), expected, rtol=1e-12, atol=1e-14)


def test_zero_padding_sees_a_cliff_at_the_edge_of_a_constant_field():
    field = np.full((10, 10), 6.0)
    assert (spatial_gradient(field) == 0).all()
    authors = spatial_gradient(field, padding="zeros")
    assert (authors[1:-1, 1:-1] == 0).all()
    assert authors[0, 5] == pytest.approx(3.0)


def test_tensors_and_arrays_agree_and_keep_their_type():
    logits = np.random.default_rng(0).normal(size=(2, 12, 12)).astype(np.float32)
    from_tensor = spatial_gradient(torch.from_numpy(logits))
    from_array = spatial_gradient(logits)
    assert from_tensor.dtype == torch.float32 and from_array.dtype == np.float32
    np.testing.assert_allclose(from_tensor.numpy(), from_array, rtol=1e-6)


def test_it_is_differentiable_also_where_the_field_is_flat():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 6, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(spatial_gradient, logits)
    flat = torch.zeros(5, 5, requires_grad=True)
    spatial_gradient(flat).sum().backward()
    assert (flat.grad == 0).all()


def test_the_field_is_left_as_it_was():
    logits = np.random.default_rng(0).normal(size=(6, 6))
    kept = logits.copy()
    spatial_gradient(logits)
    np.testing.assert_array_equal(logits, kept)


@pytest.mark.parametrize(
    ("logits", "padding", "error", "message"),
    [
        (np.zeros((5, 5), bool), "replicate", TypeError, "raw output of the model"),
        (torch.zeros(5, 5, dtype=torch.int64), "replicate", TypeError, "raw output of the model"),
        ([[0.0]], "replicate", TypeError, "list"),
        (np.zeros(5), "replicate", ValueError, r"\(…, H, W\) is needed"),
        (np.zeros((5, 5)), "reflect", ValueError, "'reflect' is unknown"),
    ],
)
def test_what_has_no_slope_is_refused(logits, padding, error, message):
    with pytest.raises(error, match=message):
        spatial_gradient(logits, padding)
