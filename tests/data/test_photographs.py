"""The retina photograph that ships with scikit-image."""

import socket

import numpy as np
import pytest

from medlib.data import retina_photograph, validate_boxes, validate_image


@pytest.mark.parametrize("size", [64, 256, 700])
def test_image_and_box(size):
    photograph = retina_photograph(size)
    assert validate_image(photograph.image).shape == (size, size, 3)
    x0, y0, x1, y1 = validate_boxes(photograph.box[None], size, size)[0] / size
    assert 0.4 < x1 - x0 < 0.5 and 0.4 < y1 - y0 < 0.55


def test_the_box_surrounds_the_brightest_structure():
    photograph = retina_photograph()
    x0, y0, x1, y1 = photograph.box.astype(int)
    green = photograph.image[..., 1].astype(float)
    inside = np.zeros(green.shape, bool)
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    assert inside[green > np.quantile(green, 0.97)].mean() > 0.98
    assert green[inside].mean() > 1.3 * green[~inside].mean()


def test_needs_no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the retina photograph must not be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    retina_photograph(64)


def test_source_names_author_and_licence():
    source = retina_photograph(64).source
    assert "Häggström" in source and "CC0" in source


@pytest.mark.parametrize("size", [10, 5000])
def test_refuses_sizes_out_of_range(size):
    with pytest.raises(ValueError, match=f"size is {size}; the retina crop"):
        retina_photograph(size)
