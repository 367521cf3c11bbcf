"""The segmentation images of a run: the reader's files when given, else the profile's phantoms."""

from medlib.data.polyps import polyp_phantoms
from medlib.data.segmentation import SegmentationSet
from medlib.data.segmentation_files import load_segmentation
from medlib.profiles import Segmentation


def load_polyps(settings: Segmentation, path: str, seed: int, limit: int | None = None) -> SegmentationSet:
    """Load the images a notebook segments.

    Args:
        settings: the profile's `segmentation`.
        path: a MedSegBench .npz file or a folder with images/ and masks/; "" for the profile's own data.
        seed: names the series of phantoms.
        limit: at most this many, on top of the profile's own limit.

    Raises:
        ValueError: the profile needs files and none were given.
        FileNotFoundError, TypeError, ValueError: see `load_segmentation`.
    """
    settings.check_polyps(path)
    count = settings.images if limit is None else min(limit, settings.images)
    if path:
        return load_segmentation(path, limit=count)
    return polyp_phantoms(count, size=settings.image_size, seed=seed)
