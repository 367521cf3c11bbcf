"""The datasets that pruning scores are mixed over: three modalities of phantoms, or the reader's files."""

from dataclasses import dataclass

import numpy as np

from medlib.data.dermoscopy import dermoscopy_phantoms
from medlib.data.polyps import polyp_phantoms
from medlib.data.segmentation import SegmentationSet
from medlib.data.segmentation_files import load_segmentation
from medlib.data.ultrasound import ultrasound_phantoms
from medlib.profiles import Pruning

_TEST_SEED = 1_000_000  # between the series of calibration and test phantoms of one run


@dataclass(frozen=True)
class PruningData:
    """Images to prune with and images to judge by; no image is in both.

    Attributes:
        calibration: name of a dataset → its images for scores and recovery.
        test: the same datasets, held back.
    """

    calibration: dict[str, SegmentationSet]
    test: dict[str, SegmentationSet]


def medical_phantoms(count: int, size: int = 256, seed: int = 0) -> dict[str, SegmentationSet]:
    """Three modalities that look nothing alike: polyps, ultrasound nodules and dermoscopy lesions.

    Args:
        count: phantoms of each, at least 1.
        size: pixels a side, 64 to 1024.
        seed: names the three series, 0 or above.

    >>> sorted(medical_phantoms(1, size=64))
    ['dermoscopy', 'polyps', 'ultrasound']
    """
    return {
        "polyps": polyp_phantoms(count, size, seed),
        "ultrasound": ultrasound_phantoms(count, size, seed),
        "dermoscopy": dermoscopy_phantoms(count, size, seed),
    }


def load_pruning_data(settings: Pruning, path: str, seed: int) -> PruningData:
    """Images for calibration and test: the reader's files when given, else three modalities of phantoms.

    Args:
        settings: the profile's `pruning`.
        path: a MedSegBench .npz file or a folder with images/ and masks/, shuffled and split; "" for phantoms.
        seed: names the series of phantoms, or the shuffle of the files.

    Raises:
        ValueError: the files hold too few images for the profile, or see `load_segmentation`.
        FileNotFoundError, TypeError: see `load_segmentation`.
    """
    calibration, test = settings.calibration_images, settings.test_images
    if not path:
        return PruningData(
            medical_phantoms(calibration, settings.image_size, seed),
            medical_phantoms(test, settings.image_size, _TEST_SEED + seed),
        )
    files = load_segmentation(path)
    if len(files) < calibration + test:
        raise ValueError(
            f"{path} holds {len(files)} images, but this profile calibrates on {calibration} and tests on {test} "
            "others. Give more images, or use a smaller profile."
        )
    order = np.random.default_rng(seed).permutation(len(files))
    chosen = [files[i] for i in order[: calibration + test]]
    return PruningData(
        {"files": SegmentationSet.from_samples(chosen[:calibration], files.source)},
        {"files": SegmentationSet.from_samples(chosen[calibration:], files.source)},
    )
