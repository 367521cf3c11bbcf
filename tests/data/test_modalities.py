"""The images that pruning works with: phantoms of three modalities, or the reader's files, split without overlap."""

import numpy as np
import pytest
from PIL import Image

from medlib.data import load_pruning_data, medical_phantoms
from medlib.profiles import load_profile

SMOKE = load_profile("smoke").pruning


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"images/{number}.png")
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 12:40] = 255
        Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
    return tmp_path


def distinct(sets) -> int:
    return len({sample.image.tobytes() for some in sets for sample in some})


def test_the_modalities_differ_in_colour_and_texture():
    sets = medical_phantoms(6, size=96, seed=4)
    assert list(sets) == ["polyps", "ultrasound", "dermoscopy"]
    spread = {name: np.ptp(s.images.astype(float), axis=-1).mean() for name, s in sets.items()}
    assert spread["ultrasound"] == 0 and min(spread["polyps"], spread["dermoscopy"]) > 20
    black = {name: (s.images[:, 0, 0] < 10).all() for name, s in sets.items()}
    assert black == {"polyps": True, "ultrasound": False, "dermoscopy": False}


def test_calibration_and_test_share_no_phantom():
    data = load_pruning_data(SMOKE, "", seed=3)
    assert list(data.calibration) == list(data.test)
    sets = [*data.calibration.values(), *data.test.values()]
    assert distinct(sets) == sum(map(len, sets)) == 3 * (SMOKE.calibration_images + SMOKE.test_images)
    again, other = load_pruning_data(SMOKE, "", seed=3), load_pruning_data(SMOKE, "", seed=4)
    assert distinct([*sets, *again.test.values()]) == distinct(sets) < distinct([*sets, *other.test.values()])


def test_files_are_shuffled_and_split(folder):
    data = load_pruning_data(SMOKE, str(folder), seed=1)
    calibration, test = data.calibration["files"], data.test["files"]
    assert len(calibration) == SMOKE.calibration_images and len(test) == SMOKE.test_images
    assert not set(calibration.names) & set(test.names)
    orders = {load_pruning_data(SMOKE, str(folder), seed=seed).calibration["files"].names for seed in range(4)}
    assert len(orders) > 1


def test_too_few_files_are_counted(folder):
    settings = SMOKE.model_copy(update={"test_images": 9})
    with pytest.raises(ValueError, match="holds 8 images, but this profile calibrates on 3 and tests on 9 others"):
        load_pruning_data(settings, str(folder), seed=0)
