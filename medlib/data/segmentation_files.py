"""Segmentation data from files: MedSegBench archives, and folders of images and masks."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import maximum_filter, minimum_filter

from medlib.data.images import validate_image
from medlib.data.segmentation import SegmentationSample, SegmentationSet

_ACCEPTED = "give a MedSegBench .npz file, or a folder with images/ and masks/."
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_DARK, _BRIGHT = 32, 223  # the darkest and the brightest value of a mask that count as grey
_FRINGE = 4  # pixels on either side of an edge that compression or resampling may turn grey


def load_segmentation(path: str | Path, split: str = "test", limit: int | None = None) -> SegmentationSet:
    """Read images and lesion masks from a MedSegBench .npz file or from a folder with images/ and masks/.

    An archive holds `{split}_images`, uint8 (N, H, W, 3) or grey (N, H, W), and `{split}_label`, (N, H, W) of
    0 and 1. In a folder the files pair by stem (images/a.jpg with masks/a.png) and are taken in order of
    their names; masks hold 0 and 1, or 0 and 255, and are cut at half range, since JPEG blurs them. Grey
    images become RGB.

    Args:
        path: the .npz file or the folder.
        split: which split of an archive to read; a folder has none and is read whole.
        limit: read at most this many samples, the first ones; None reads all.

    Raises:
        FileNotFoundError: when the path, or images/ or masks/ in a folder, does not exist.
        ValueError: when the content is damaged, unpaired, empty, not binary, or the wrong shape.
        TypeError: when the images are not 8-bit.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; use 1 or more, or None to read all samples.")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {_ACCEPTED}")
    if path.is_dir():
        return _load_folder(path, limit)
    if path.suffix.lower() == ".npz":
        return _load_archive(path, split, limit)
    raise ValueError(f"{path} ends in '{path.suffix}'; {_ACCEPTED}")


def _load_archive(path: Path, split: str, limit: int | None) -> SegmentationSet:
    images, labels = _read_split(path, split)
    if images.ndim not in (3, 4) or labels.ndim != 3:
        raise ValueError(
            f"{path}: {split}_images has shape {images.shape} and {split}_label {labels.shape}; expected "
            "(N, H, W, 3) or (N, H, W), and (N, H, W)."
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{path}: {len(images)} images but {len(labels)} masks in split '{split}'; each image needs one."
        )
    if len(images) == 0:
        raise ValueError(f"{path}: split '{split}' is empty; choose another split.")
    samples = []
    for i in range(len(images) if limit is None else min(limit, len(images))):
        name = f"{split}-{i:04d}"
        image = validate_image(images[i], f"{path}: image {name}")
        samples.append(SegmentationSample(name, image, _binary_mask(labels[i], f"{path}: mask {name}")))
    return SegmentationSet.from_samples(samples, source=f"{path.name}, {split}")


def _read_split(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of images and labels, whatever they hold."""
    try:
        with zipfile.ZipFile(path) as zipped:
            keys = [name.removesuffix(".npy") for name in zipped.namelist()]
        if f"{split}_images" in keys and f"{split}_label" in keys:
            with np.load(path, allow_pickle=False) as archive:
                return archive[f"{split}_images"], archive[f"{split}_label"]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as an .npz file ({error}); it is damaged or something else. Fetch it again."
        ) from error
    splits = sorted(key.removesuffix("_images") for key in keys if key.endswith("_images"))
    if split in splits:
        raise ValueError(
            f"{path} holds {split}_images but no {split}_label; a MedSegBench file has both. It holds: "
            f"{', '.join(sorted(keys))}."
        )
    raise ValueError(f"{path} has no split '{split}'; it has: {', '.join(splits) or 'none'}.")


def _load_folder(folder: Path, limit: int | None) -> SegmentationSet:
    images, masks = _files_by_stem(folder / "images"), _files_by_stem(folder / "masks")
    _check_pairs(folder, set(images), set(masks))
    samples = [
        SegmentationSample(stem, _read_image(images[stem]), _binary_mask(_read_mask(masks[stem]), str(masks[stem])))
        for stem in sorted(images)[:limit]
    ]
    return SegmentationSet.from_samples(samples, source=folder.name)


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder, hidden ones left out."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; a folder of segmentation data holds images/ and masks/.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ValueError(f"{folder} holds both {found[path.stem].name} and {path.name}; keep one file a stem.")
        found[path.stem] = path
    if not found:
        raise ValueError(f"{folder} holds no image file ({', '.join(_IMAGE_SUFFIXES)}).")
    return found


def _check_pairs(folder: Path, images: set[str], masks: set[str]) -> None:
    problems = []
    for alone, what, missing in ((images - masks, "images", "mask"), (masks - images, "masks", "image")):
        if alone:
            shown = ", ".join(sorted(alone)[:3]) + (" …" if len(alone) > 3 else "")
            problems.append(f"{len(alone)} {what} without {missing} ({shown})")
    if problems:
        raise ValueError(f"{folder}: {' and '.join(problems)}; each image and its mask share one stem.")


def _open(path: Path) -> Image.Image:
    """Decode a picture completely, so that a truncated file is noticed here."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image, whatever its name says; remove or replace it.") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}); it is damaged or truncated. Fetch it again.") from error


def _read_image(path: Path) -> np.ndarray:
    picture = _open(path)
    if picture.mode[0] in "IF":
        return validate_image(np.asarray(picture), str(path))
    return validate_image(np.asarray(picture.convert("RGB")), str(path))


def _read_mask(path: Path) -> np.ndarray:
    picture = _open(path)
    return np.asarray(picture if picture.mode[0] in "IF" else picture.convert("L"))


def _binary_mask(values: np.ndarray, name: str) -> np.ndarray:
    """Bool (H, W) from values of 0 and 1, or of 0 and 255 with a grey fringe along edges."""
    if values.dtype == bool:
        return values
    if np.isin(values, (0, 1)).all():
        return values > 0
    if values.dtype != np.uint8 or values.max() <= _BRIGHT:
        shown = ", ".join(f"{value:g}" for value in np.unique(values)[:4])
        raise ValueError(
            f"{name} is not binary: its {values.dtype} values run {shown} … {values.max():g}; masks hold "
            "0 and 1, or 0 and 255. Choose one class: mask = (labels == k)."
        )
    mask = values > 127
    stray = (_DARK < values) & (values < _BRIGHT) & ~_near_edge(mask, _FRINGE)
    if stray.sum() > 0.1 * _near_edge(mask, 1).sum():
        raise ValueError(
            f"{name} is not binary: {stray.sum()} pixels away from any edge are neither black nor white. "
            "Masks hold 0 and 1, or 0 and 255; threshold or separate the classes first."
        )
    return mask


def _near_edge(mask: np.ndarray, reach: int) -> np.ndarray:
    """Bool (H, W), True within `reach` pixels of where the mask changes."""
    window = 2 * reach + 1
    return maximum_filter(mask, window) & ~minimum_filter(mask, window)
