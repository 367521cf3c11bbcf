"""Compact encoders survive the way through a folder, and a folder that does not fit says why."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medlib.models import lite_medsam, tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, random_masks
from medlib.pruning.compact import compact
from medlib.pruning.compact_files import load_compact, save_compact

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return tiny_sam(size=32, width=16, depth=2).encoder


@pytest.fixture(scope="module")
def masks(encoder: nn.Module) -> PruningMasks:
    return random_masks(encoder, heads=0.5, channels=0.7, generator=np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path: Path, encoder: nn.Module, masks: PruningMasks) -> Path:
    save_compact(tmp_path / "compact", encoder, masks)
    return tmp_path / "compact"


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][n]) for n, v in states[0].items())


def zeroed(encoder: nn.Module) -> nn.Module:
    """The same architecture without the weights."""
    empty = copy.deepcopy(encoder)
    with torch.no_grad():
        for value in empty.state_dict().values():
            value.zero_()
    return empty


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_was_saved_is_loaded_into_an_encoder_without_its_weights(folder, encoder, masks):
    dense = zeroed(encoder)
    loaded = load_compact(folder, dense)
    assert same_weights(loaded, compact(encoder, masks)) and not loaded.training
    assert same_weights(dense, zeroed(encoder)), "the encoder that lends its shape is left alone"
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(image), compact(encoder, masks)(image))


@torch.no_grad()
def test_lite_medsam_comes_back_with_its_cached_biases(tmp_path):
    encoder = lite_medsam().encoder
    masks = random_masks(encoder, 0.2, 0.3, np.random.default_rng(0))
    save_compact(tmp_path / "compact", encoder, masks)
    loaded, expected = load_compact(tmp_path / "compact", zeroed(encoder)), compact(encoder, masks)
    assert same_weights(loaded, expected)
    for block in encoder_blocks(loaded):
        attention = block.projection.rpartition(".")[0]
        assert torch.equal(loaded.get_submodule(attention).ab, expected.get_submodule(attention).ab)


def test_the_files_say_what_they_hold(folder, encoder, masks):
    manifest = json.loads((folder / "manifest.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    smaller = compact(encoder, masks)
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "weights.safetensors"}
    assert (manifest["format"], manifest["encoder"]) == (1, "ImageEncoderViT")
    assert manifest["parameters"] == sum(parameter.numel() for parameter in smaller.parameters())
    assert manifest["tensors"] == {name: list(value.shape) for name, value in weights.items()}
    for record, heads, channels in zip(manifest["blocks"], masks.heads, masks.channels, strict=True):
        assert (record["heads"], record["channels"]) == (len(heads), len(channels))
        assert record["kept_heads"] == [h for h in range(len(heads)) if heads[h]]
        assert record["kept_channels"] == [c for c in range(len(channels)) if channels[c]]


def test_an_encoder_trained_after_compaction_is_saved_as_it_is(tmp_path, encoder, masks):
    trained = compact(encoder, masks)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    save_compact(tmp_path / "compact", trained, masks)
    assert same_weights(load_compact(tmp_path / "compact", encoder), trained)


def test_saving_again_replaces_and_leaves_no_drafts(folder, encoder):
    keep = PruningMasks.keep_all(encoder)
    save_compact(folder, encoder, keep)
    assert same_weights(load_compact(folder, encoder), encoder)
    assert [path.name for path in folder.parent.iterdir()] == ["compact"]


def test_a_folder_with_other_things_in_it_is_not_touched(tmp_path, encoder, masks):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"something other than a compact encoder\. Give a new folder"):
        save_compact(tmp_path, encoder, masks)
    with pytest.raises(FileExistsError):
        save_compact(tmp_path / "thesis.tex", encoder, masks)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_masks_that_fit_nothing_are_refused_before_anything_is_written(tmp_path, encoder, masks):
    smaller = compact(encoder, masks)
    with pytest.raises(ValueError, match="Use 0 and 1"):
        save_compact(tmp_path / "compact", encoder, masks.weakened(0.5))
    with pytest.raises(ValueError, match="Use 0 and 1"):
        save_compact(tmp_path / "compact", smaller, PruningMasks(masks.heads, tuple(0.3 * m for m in masks.channels)))
    with pytest.raises(ValueError, match="Give one mask a block"):
        save_compact(tmp_path / "compact", encoder, PruningMasks(masks.heads[:1], masks.channels[:1]))
    with pytest.raises(ValueError, match="Make the masks for this encoder"):
        save_compact(tmp_path / "compact", smaller, random_masks(encoder, 0.25, 0.5, np.random.default_rng(1)))
    assert not any(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_folder(folder, encoder, masks, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    before = (folder / "manifest.json").read_text()
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_compact(folder, encoder, PruningMasks.keep_all(encoder))
    assert (folder / "manifest.json").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["compact"]
    assert load_compact(folder, encoder)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "."])
def test_missing_files_are_named(folder, encoder, name):
    if name == ".":
        shutil.rmtree(folder)
    else:
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"(manifest.json|weights.safetensors) does not exist\. .* copy it"):
        load_compact(folder, encoder)


def test_damaged_weights_are_refused(folder, encoder):
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=rf"\({len(content) - 100} bytes\) has digest .* truncated or was changed"):
        load_compact(folder, encoder)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"truncated or was changed\. Copy the folder again"):
        load_compact(folder, encoder)


def test_a_damaged_manifest_is_refused(folder, encoder):
    path = folder / "manifest.json"
    content = path.read_text()
    path.write_text(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"not the manifest of a compact encoder \(the file: Invalid JSON"):
        load_compact(folder, encoder)
    path.write_text(content.replace('"parameters"', '"size"'))
    with pytest.raises(ValueError, match=r"parameters: Field required; size: Extra inputs are not permitted"):
        load_compact(folder, encoder)


@pytest.mark.parametrize(
    ("kept", "why"), [([], "[]"), ([0, 0], "[0, 0]"), ([2, 1], "[2, 1]"), ([0, 4], "[0, 4]"), ([-1, 2], "[-1, 2]")]
)
def test_kept_positions_must_be_a_selection(folder, encoder, kept, why):
    edit(folder, lambda manifest: manifest["blocks"][1].update(kept_heads=kept))
    with pytest.raises(ValueError, match="ascending, different positions from 0 to 3, at least one") as error:
        load_compact(folder, encoder)
    assert f"keeps the heads {why} of blocks.1" in str(error.value)


def test_a_manifest_that_was_edited_is_refused(folder, encoder):
    edit(folder, lambda manifest: manifest["blocks"][0]["kept_channels"].pop())
    with pytest.raises(ValueError, match=r"does not fit this encoder: .* 3 of another shape or type .*blocks.0.mlp"):
        load_compact(folder, encoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=2), "has format 2, and this medlib reads format 1. Install the medlib"),
        (lambda m: m.update(parameters=7), "counts 7 parameters, but its blocks leave"),
        (lambda m: m["tensors"].pop("pos_embed"), "lists other tensors or shapes"),
        (lambda m: m["blocks"].pop(), "has 1 blocks, and the encoder has 2. Build it with that depth"),
    ],
)
def test_what_the_manifest_says_must_be_so(folder, encoder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        load_compact(folder, encoder)


def test_another_encoder_is_refused(folder, encoder, masks):
    cases = {
        "of class ImageEncoderViT, and the encoder is a TinyViT": lite_medsam().encoder,
        "has 2 blocks, and the encoder has 3": tiny_sam(size=32, width=16, depth=3).encoder,
        "with 4 heads and 64 channels, but the encoder's blocks.0 has 2 and 64": tiny_sam(
            size=32, width=16, depth=2, heads=2
        ).encoder,
        "Pass the dense encoder it was made from": compact(encoder, masks),
        "does not fit this encoder: 0 names missing .* 1 of another shape": tiny_sam(
            size=64, width=16, depth=2
        ).encoder,
        "of another shape or type .* torch.float32 .* for torch.float64": copy.deepcopy(encoder).double(),
    }
    for message, other in cases.items():
        with pytest.raises(ValueError, match=message):
            load_compact(folder, other)
    with pytest.raises(TypeError, match="not an encoder of the SAM family"):
        load_compact(folder, nn.Linear(2, 2))
