"""The images of a run: the reader's files, else the profile's phantoms."""

import numpy as np
import pytest
from PIL import Image

from medlib.data import load_polyps, polyp_phantoms
from medlib.profiles import load_profile


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, size in (("a", (40, 60)), ("b", (50, 50)), ("c", (64, 48))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
        mask = np.zeros(size, np.uint8)
        mask[10:30, 12:40] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_without_a_path_the_phantoms_of_the_profile_come():
    settings = load_profile("smoke").segmentation
    chosen = load_polyps(settings, "", seed=3)
    assert len(chosen) == settings.images
    assert np.array_equal(chosen.images, polyp_phantoms(settings.images, settings.image_size, seed=3).images)
    assert len(load_polyps(settings, "", seed=3, limit=2)) == 2


def test_a_path_wins_over_the_profile(folder):
    chosen = load_polyps(load_profile("smoke").segmentation, str(folder), seed=0)
    assert chosen.names == ("a", "b", "c")
    assert len(load_polyps(load_profile("smoke").segmentation, str(folder), seed=0, limit=1)) == 1


def test_a_profile_of_real_images_says_what_it_needs():
    with pytest.raises(ValueError, match="-p polyps PATH"):
        load_polyps(load_profile("paper").segmentation, "", seed=0)
