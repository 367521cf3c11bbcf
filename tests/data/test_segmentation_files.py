"""Segmentation data from archives and folders, sound and broken."""

import numpy as np
import pytest
from PIL import Image

from medlib.data import boxes_from_masks, load_segmentation


def disc(size: int = 48) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (x - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 4) ** 2


def picture(size: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write_archive(path, split="test", images=None, labels=None):
    images = np.stack([picture(seed=s) for s in range(3)]) if images is None else images
    labels = np.stack([disc().astype(np.uint8)] * 3) if labels is None else labels
    np.savez(path, **{f"{split}_images": images, f"{split}_label": labels})
    return path


@pytest.fixture
def folder(tmp_path):
    """images/ and masks/ with three pairs of 48 × 48 PNG files."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i, stem in enumerate("abc"):
        Image.fromarray(picture(seed=i)).save(tmp_path / "images" / f"{stem}.png")
        Image.fromarray(disc().astype(np.uint8) * 255).save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


# Archives


def test_archive(tmp_path):
    data = load_segmentation(write_archive(tmp_path / "polyps.npz"))
    assert data.images.shape == (3, 48, 48, 3) and data.names == ("test-0000", "test-0001", "test-0002")
    np.testing.assert_array_equal(data.images[1], picture(seed=1))
    np.testing.assert_array_equal(data.masks[2], disc())
    assert data.source == "polyps.npz, test"


def test_archive_split_and_limit(tmp_path):
    data = load_segmentation(str(write_archive(tmp_path / "p.npz", split="val")), split="val", limit=2)
    assert data.names == ("val-0000", "val-0001")


def test_grey_archive_becomes_rgb(tmp_path):
    grey = np.stack([picture()[..., 0]] * 3)
    data = load_segmentation(write_archive(tmp_path / "p.npz", images=grey))
    np.testing.assert_array_equal(data.images[0], np.repeat(grey[0][..., None], 3, axis=2))


def test_empty_and_several_component_masks_are_loaded_and_named_where_a_box_is_needed(tmp_path):
    two = disc() & (np.arange(48) % 24 > 4)
    labels = np.stack([two, np.zeros((48, 48), bool), disc()])
    data = load_segmentation(write_archive(tmp_path / "p.npz", labels=labels))
    np.testing.assert_array_equal(data.masks, labels)
    with pytest.raises(ValueError, match="mask test-0001 is empty"):
        boxes_from_masks(data.masks, names=data.names)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"images": np.zeros((3, 48, 48, 3), np.float32)},
            TypeError,
            "image test-0000 holds float32 values from 0 to 0",
        ),
        (
            {"images": np.full((3, 48, 48, 3), np.nan)},
            ValueError,
            "image test-0000 holds float64 values, some of them NaN",
        ),
        ({"images": np.full((3, 48, 48), 999, np.uint16)}, TypeError, "uint16 values from 999 to 999"),
        ({"images": np.zeros((3, 48), np.uint8)}, ValueError, r"test_images has shape \(3, 48\)"),
        ({"images": np.zeros((2, 48, 48, 3), np.uint8)}, ValueError, "2 images but 3 masks in split 'test'"),
        (
            {"images": np.zeros((3, 40, 48, 3), np.uint8)},
            ValueError,
            "test-0000: the image is 40 × 48 and its mask 48 × 48",
        ),
        (
            {"images": np.zeros((0, 48, 48, 3), np.uint8), "labels": np.zeros((0, 48, 48), np.uint8)},
            ValueError,
            "split 'test' is empty",
        ),
        (
            {"labels": np.stack([disc() * 2] * 3)},
            ValueError,
            "mask test-0000 is not binary: its int64 values run 0, 2",
        ),
        ({"labels": np.full((3, 48, 48), 0.4)}, ValueError, "mask test-0000 is not binary"),
        ({"labels": np.full((3, 48, 48), np.nan)}, ValueError, "mask test-0000 is not binary"),
        ({"labels": np.zeros((3, 14), np.uint8)}, ValueError, r"test_label \(3, 14\)"),
    ],
)
def test_refuses_archives_with_wrong_content(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        load_segmentation(write_archive(tmp_path / "p.npz", **change))


def test_unknown_split_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="has no split 'test'; it has: train"):
        load_segmentation(write_archive(tmp_path / "p.npz", split="train"))


def test_archive_without_labels(tmp_path):
    np.savez(tmp_path / "p.npz", test_images=np.zeros((2, 8, 8, 3), np.uint8), test_labels=np.zeros((2, 14)))
    with pytest.raises(ValueError, match=r"holds test_images but no test_label; .* It holds: test_images, test_labels"):
        load_segmentation(tmp_path / "p.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_archive(tmp_path, share):
    path = write_archive(tmp_path / "p.npz")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"p\.npz cannot be read as an \.npz file"):
        load_segmentation(path)


def test_archive_with_a_damaged_byte(tmp_path):
    path = write_archive(tmp_path / "p.npz")
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        load_segmentation(path)


@pytest.mark.parametrize("content", [b"not an archive", np.lib.format.magic(1, 0) + b"junk"])
def test_other_file_named_npz(tmp_path, content):
    path = tmp_path / "p.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        load_segmentation(path)


def test_array_file_named_npz(tmp_path):
    with open(tmp_path / "p.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        load_segmentation(tmp_path / "p.npz")


def test_pickled_objects_are_not_run(tmp_path):
    np.savez(tmp_path / "p.npz", test_images=np.array([{"a": 1}], dtype=object), test_label=np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        load_segmentation(tmp_path / "p.npz")


# Folders


def test_folder(folder):
    data = load_segmentation(folder, split="whatever")
    assert data.names == ("a", "b", "c") and data.source == folder.name
    np.testing.assert_array_equal(data.images[1], picture(seed=1))
    np.testing.assert_array_equal(data.masks[0], disc())


def test_folder_limit_reads_the_first_ones(folder):
    assert load_segmentation(folder, limit=2).names == ("a", "b")


def test_folder_of_different_sizes(folder):
    Image.fromarray(picture(64)).save(folder / "images" / "b.png")
    Image.fromarray(disc(64)).save(folder / "masks" / "b.png")
    data = load_segmentation(folder)
    assert [mask.shape for mask in data.masks] == [(48, 48), (64, 64), (48, 48)]
    np.testing.assert_array_equal(data.masks[1], disc(64))


def test_jpeg_masks_are_cut_at_half_range(folder):
    (folder / "masks" / "a.png").unlink()
    Image.fromarray(disc().astype(np.uint8) * 255).convert("RGB").save(folder / "masks" / "a.jpg", quality=75)
    decoded = np.asarray(Image.open(folder / "masks" / "a.jpg").convert("L"))
    assert len(np.unique(decoded)) > 2, "the test needs a mask with ringing"
    mask = load_segmentation(folder).masks[0]
    assert (mask != disc()).mean() < 0.01


def test_masks_of_zero_and_one_and_grey_images(folder):
    Image.fromarray(disc().astype(np.uint8)).save(folder / "masks" / "a.png")
    Image.fromarray(picture()[..., 0]).save(folder / "images" / "a.png")
    data = load_segmentation(folder)
    np.testing.assert_array_equal(data.masks[0], disc())
    np.testing.assert_array_equal(data.images[0][..., 2], picture()[..., 0])


def test_black_mask_is_an_empty_mask(folder):
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(folder / "masks" / "b.png")
    assert not load_segmentation(folder).masks[1].any()


def test_hidden_and_other_files_are_left_out(folder):
    (folder / "images" / "Thumbs.db").write_bytes(b"x")
    (folder / "images" / "._a.png").write_bytes(b"x")
    assert len(load_segmentation(folder)) == 3


@pytest.mark.parametrize("level", [2, 100, 180])
def test_masks_of_several_classes_are_refused(folder, level):
    values = disc().astype(np.uint8) * level
    values[-1, -1] = 255 if level == 180 else 0
    Image.fromarray(values).save(folder / "masks" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is not binary"):
        load_segmentation(folder)


def test_unpaired_stems_are_named_on_both_sides(folder):
    for name in "defg":
        Image.fromarray(picture()).save(folder / "images" / f"{name}.png")
    (folder / "images" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"4 images without mask \(d, e, f …\) and 1 masks without image \(a\)"):
        load_segmentation(folder)


def test_two_files_of_one_stem(folder):
    Image.fromarray(picture()).save(folder / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"holds both a\.jpg and a\.png"):
        load_segmentation(folder)


def test_truncated_jpeg(folder):
    (folder / "images" / "a.png").unlink()
    path = folder / "images" / "a.jpg"
    Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.jpg cannot be decoded .*truncated"):
        load_segmentation(folder)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_text_named_png(folder, kind):
    (folder / kind / "c.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"c\.png is not an image"):
        load_segmentation(folder)


def test_sixteen_bit_image(folder):
    Image.fromarray(np.full((48, 48), 4000, np.uint16)).save(folder / "images" / "b.png")
    with pytest.raises(TypeError, match=r"b\.png holds .*int\d+ values from 4000 to 4000"):
        load_segmentation(folder)


def test_mask_of_another_size(folder):
    Image.fromarray(disc(64)).save(folder / "masks" / "c.png")
    with pytest.raises(ValueError, match="c: the image is 48 × 48 and its mask 64 × 64"):
        load_segmentation(folder)


def test_folder_without_masks(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="masks holds no image file"):
        load_segmentation(folder)
    (folder / "masks").rmdir()
    with pytest.raises(
        FileNotFoundError, match="masks does not exist; a folder of segmentation data holds images/ and"
    ):
        load_segmentation(folder)


def test_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="images does not exist"):
        load_segmentation(tmp_path)


# Paths


def test_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist; give a MedSegBench"):
        load_segmentation(tmp_path / "nowhere.npz")


def test_unknown_suffix(tmp_path):
    (tmp_path / "polyps.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"ends in '\.csv'; give a MedSegBench"):
        load_segmentation(tmp_path / "polyps.csv")


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_below_one(folder, limit):
    with pytest.raises(ValueError, match=f"limit is {limit}"):
        load_segmentation(folder, limit=limit)


# Real data


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_real_archive(real_data, split):
    data = load_segmentation(real_data / "polyps_256.npz", split)
    assert data.images.shape == (1, 256, 256, 3)
    boxes_from_masks(data.masks, names=data.names)
    lesion = data.images[data.masks].mean(axis=0)
    assert lesion[0] > lesion[1] > 0, "polyps are red"


def test_real_folder_agrees_with_the_archive(real_data):
    data = load_segmentation(real_data / "polyps_folder")
    assert len(data) == 3 and isinstance(data.images, tuple)
    shares = sorted(mask.mean() for mask in data.masks)
    archive = [load_segmentation(real_data / "polyps_256.npz", split) for split in ("train", "val", "test")]
    np.testing.assert_allclose(shares, sorted(part.masks.mean() for part in archive), atol=0.01)
