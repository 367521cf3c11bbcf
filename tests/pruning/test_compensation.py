"""Compensation keeps what least squares promises, and gives back an encoder like any other."""

import copy
import math

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from medlib.boundary import dice
from medlib.data import boxes_from_masks, load_segmentation, polyp_phantom
from medlib.models import lite_medsam
from medlib.pruning import PruningMasks, encoder_blocks, masked, random_masks, removed_parameters
from medlib.pruning.compact import compact
from medlib.pruning.compensation import Compensator, compensate
from medlib.pruning.groups import Part
from medlib.pruning.reconstruction import select_by_reconstruction
from medlib.pruning.stages import EncoderStages

torch.set_num_threads(1)


@pytest.fixture
def masks(small_encoder: nn.Module) -> PruningMasks:
    return random_masks(small_encoder, heads=0.3, channels=0.4, generator=np.random.default_rng(0))


def features(encoder: nn.Module, inputs: Tensor) -> Tensor:
    """The output of the last block; the neck of a small TinyViT takes other sizes."""
    if isinstance(encoder, ImageEncoderViT):
        return encoder(inputs)
    return nn.Sequential(encoder.patch_embed, *encoder.layers)(inputs)


def stream_after(encoder: nn.Module, inputs: Tensor, block: int, kind: str) -> Tensor:
    """The residual stream (N, H, W, C) behind the projection ("heads") or behind a whole block ("channels")."""
    stages = EncoderStages(encoder)
    stream = stages.stem(inputs)
    for number, halves in enumerate(stages.blocks):
        stream = stream + halves.projection(halves.heads(stream))
        if (number, "heads") == (block, kind):
            return stream
        stream = halves.between(stream)
        stream = stream + halves.contraction(halves.channels(stream))
        if number == block:
            return stream
        stream = stages.bridge(number, stream)


def one_site(encoder: nn.Module, block: int, kind: str) -> PruningMasks:
    """Masks that remove half of the heads or channels of one block."""
    masks = PruningMasks.keep_all(encoder)
    getattr(masks, kind)[block][::2] = 0
    return masks


def zeroed(encoder: nn.Module, masks: PruningMasks) -> nn.Module:
    """A copy in which removed groups write nothing, and all else is as it was."""
    copied = copy.deepcopy(encoder)
    with torch.no_grad():
        for block, heads, channels in zip(encoder_blocks(encoder), masks.heads, masks.channels):
            copied.get_submodule(block.projection).weight.mul_(heads.repeat_interleave(block.head_dim))
            copied.get_submodule(block.contraction).weight.mul_(channels)
    return copied


def copy_group(encoder: nn.Module, parts: tuple[Part, ...], source: int, target: int) -> None:
    """Let one group compute what another computes; what it writes stays its own."""
    parameters = dict(encoder.named_parameters())
    with torch.no_grad():
        for part in parts:
            if part.axis == 0:
                parameter = parameters[part.parameter]
                parameter[part.index[target]] = parameter[part.index[source]].clone()
    encoder.train(encoder.training)  # TinyViT caches its attention biases


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).square().mean() / expected.var())


# What least squares promises


@torch.no_grad()
@pytest.mark.parametrize("method", ["reconstruct", "fold"])
def test_with_nothing_removed_nothing_changes(small_encoder, pictures, method):
    same = compensate(small_encoder, PruningMasks.keep_all(small_encoder), pictures, method)
    expected = features(small_encoder, pictures)
    np.testing.assert_allclose(features(same, pictures), expected, atol=1e-9 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["heads", "channels"])
def test_what_another_group_computes_too_is_removed_without_loss(small_encoder, pictures, kind):
    masks = PruningMasks.keep_all(small_encoder)
    for number, block in enumerate(encoder_blocks(small_encoder)):
        copy_group(small_encoder, getattr(block, f"{kind[:-1]}_parts"), source=0, target=1)
        getattr(masks, kind)[number][1] = 0
    expected = features(small_encoder, pictures)
    mended = compensate(small_encoder, masks, pictures, ridge=1e-10)
    assert error(features(mended, pictures), expected) < 1e-12
    assert error(features(compensate(small_encoder, masks, pictures, "fold"), pictures), expected) > 1e-7
    other = torch.randn(pictures.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    assert error(features(mended, other), features(small_encoder, other)) < 1e-7


@torch.no_grad()
@pytest.mark.parametrize("kind", ["heads", "channels"])
@pytest.mark.parametrize("block", [0, 2])
def test_reconstructing_beats_folding_beats_zeroing_at_one_place(small_encoder, pictures, kind, block):
    masks = one_site(small_encoder, block, kind)
    expected = stream_after(small_encoder, pictures, block, kind)
    repairs = [compensate(small_encoder, masks, pictures, method) for method in ("reconstruct", "fold")]
    repairs.append(zeroed(small_encoder, masks))
    lost = [float((stream_after(repair, pictures, block, kind) - expected).square().mean()) for repair in repairs]
    assert 0 < lost[0] < 0.95 * lost[1] and lost[1] < 0.999 * lost[2]


@torch.no_grad()
def test_the_solution_is_least_squares_on_the_tokens_with_a_pull_to_the_dense_weights(small_encoder, pictures):
    masks, ridge = one_site(small_encoder, 0, "channels"), 0.2
    kept = masks.channels[0] > 0
    stages = EncoderStages(small_encoder)
    halves = stages.blocks[0]
    stem = stages.stem(pictures)
    stream = halves.between(stem + halves.projection(halves.heads(stem)))
    read = halves.channels(stream).flatten(0, 2)
    target = halves.contraction(read).numpy()
    weight, x = halves.contraction.weight.numpy()[:, kept], read[:, kept].numpy()
    centred = x - x.mean(0)
    pull = math.sqrt(ridge * centred.var(0).mean() * len(x)) * np.eye(x.shape[1])
    system = np.concatenate([centred, pull])
    wanted = np.concatenate([target - target.mean(0), pull @ weight.T])
    expected = np.linalg.lstsq(system, wanted, rcond=None)[0].T
    found = EncoderStages(compensate(small_encoder, masks, pictures, ridge=ridge)).blocks[0].contraction
    np.testing.assert_allclose(found.weight[:, kept], expected, atol=1e-8)
    np.testing.assert_allclose(found.bias, target.mean(0) - expected @ x.mean(0), atol=1e-8)


@torch.no_grad()
def test_a_later_place_takes_back_what_an_earlier_one_lost(small_encoder, pictures):
    masks = one_site(small_encoder, 0, "channels")
    expected = stream_after(small_encoder, pictures, 1, "channels")
    mended = compensate(small_encoder, masks, pictures)
    assert (mended.get_submodule(encoder_blocks(small_encoder)[1].contraction).weight != 0).all()
    idle = copy.deepcopy(mended)
    before, after = (e.get_submodule(encoder_blocks(e)[1].contraction) for e in (small_encoder, idle))
    after.load_state_dict(before.state_dict())
    lost = [float((stream_after(e, pictures, 1, "channels") - expected).square().mean()) for e in (mended, idle)]
    assert lost[0] < 0.99 * lost[1]


@torch.no_grad()
def test_a_strong_ridge_is_folding_of_the_error_that_arrives(small_encoder, pictures):
    masks = one_site(small_encoder, 0, "heads")
    stiff, folded = (compensate(small_encoder, masks, pictures, **o) for o in ({"ridge": 1e9}, {"method": "fold"}))
    found, expected = (stream_after(encoder, pictures, 0, "heads") for encoder in (stiff, folded))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["heads", "channels"])
def test_the_error_goes_where_tokens_weigh_little(small_encoder, pictures, kind):
    masks, weights = one_site(small_encoder, 0, kind), torch.full((3, 8, 8), 0.05)
    weights[:, 2:6, 2:6] = 1
    expected = stream_after(small_encoder, pictures, 0, kind)
    lost = []
    for given in (weights, None):
        mended = compensate(small_encoder, masks, pictures, token_weights=given, ridge=1e-6)
        lost.append((stream_after(mended, pictures, 0, kind) - expected).square().mean((0, 3)))
    side = len(lost[0]) // 4
    centre = (slice(side, 3 * side), slice(side, 3 * side))
    assert lost[0][centre].mean() < 0.99 * lost[1][centre].mean()
    assert lost[0].mean() > lost[1].mean()


@torch.no_grad()
def test_the_whole_encoder_comes_nearer(small_encoder, pictures, masks):
    expected = features(small_encoder, pictures)
    found = [compensate(small_encoder, masks, pictures, method) for method in ("reconstruct", "fold")]
    lost = [error(features(encoder, pictures), expected) for encoder in (*found, zeroed(small_encoder, masks))]
    assert lost[0] < 0.7 * lost[1] and lost[1] < lost[2]


# What comes back, and what stays


@torch.no_grad()
@pytest.mark.parametrize("method", ["reconstruct", "fold"])
def test_nothing_reads_the_removed_groups(small_encoder, pictures, masks, method):
    mended = compensate(small_encoder, masks, pictures, method)
    expected = features(mended, pictures)
    with masked(mended, masks):
        assert torch.equal(features(mended, pictures), expected)
    smaller = compact(mended, masks)
    np.testing.assert_allclose(features(smaller, pictures), expected, atol=1e-11 * float(expected.abs().max()))
    counts = [sum(p.numel() for p in encoder.parameters()) for encoder in (small_encoder, smaller)]
    assert counts[0] - counts[1] == removed_parameters(small_encoder, masks) > 0


@torch.no_grad()
def test_only_the_maps_that_write_to_the_stream_change(small_encoder, pictures, masks):
    mended = compensate(small_encoder, masks, pictures)
    solved = {
        f"{p}.{n}" for b in encoder_blocks(mended) for p in (b.projection, b.contraction) for n in ("weight", "bias")
    }
    changed = {
        n for (n, a), b in zip(mended.state_dict().items(), small_encoder.state_dict().values()) if (a != b).any()
    }
    assert changed == solved


@pytest.mark.parametrize("training", [False, True])
def test_the_encoder_handed_in_is_left_alone(small_encoder, pictures, masks, training):
    small_encoder.train(training)
    path = encoder_blocks(small_encoder)[0].projection
    frozen = small_encoder.get_submodule(path).weight.requires_grad_(False)
    state, gates = copy.deepcopy(small_encoder.state_dict()), copy.deepcopy(masks)
    mended = compensate(small_encoder, masks, pictures)
    for encoder in (small_encoder, mended):
        assert encoder.training == training
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())
        assert sum(not parameter.requires_grad for parameter in encoder.parameters()) == 1
    assert not frozen.requires_grad and not mended.get_submodule(path).weight.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in small_encoder.state_dict().items())
    assert all(map(torch.equal, masks.heads + masks.channels, gates.heads + gates.channels))
    assert not {p.data_ptr() for p in mended.parameters()} & {p.data_ptr() for p in small_encoder.parameters()}


@pytest.mark.parametrize("training", [False, True])
def test_cached_attention_biases_are_right(small_encoder, pictures, masks, training):
    mended = compensate(small_encoder.train(training), masks, pictures)
    for module in mended.modules():
        if hasattr(module, "attention_biases"):
            assert hasattr(module, "ab") == (not training)
            assert training or torch.equal(module.ab, module.attention_biases[:, module.attention_bias_idxs])


@torch.no_grad()
def test_one_compensator_serves_many_masks(small_encoder, pictures, masks):
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    compensator = Compensator(small_encoder, pictures, weights)
    for method, given in (
        ("fold", masks),
        ("reconstruct", one_site(small_encoder, 1, "heads")),
        ("reconstruct", masks),
    ):
        found = compensator.solve(given, method).state_dict()
        expected = compensate(small_encoder, given, pictures, method, token_weights=weights).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


@torch.no_grad()
def test_a_compact_encoder_is_compensated_again(small_encoder, pictures, masks):
    smaller = compact(compensate(small_encoder, masks, pictures), masks)
    again = select_by_reconstruction(smaller, pictures, 0.1)
    expected, mended = features(smaller, pictures), compensate(smaller, again, pictures)
    lost = [error(features(encoder, pictures), expected) for encoder in (mended, zeroed(smaller, again))]
    assert lost[0] < lost[1]


# What it refuses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: PruningMasks(m.heads[1:], m.channels), "head masks for 3 blocks|head masks for 4 blocks"),
        (lambda m: PruningMasks(m.heads, (m.channels[0][1:], *m.channels[1:])), "channel mask of .* has shape"),
        (lambda m: PruningMasks((0 * m.heads[0], *m.heads[1:]), m.channels), "removes all . heads"),
        (lambda m: PruningMasks(m.heads, (0.5 * m.channels[0], *m.channels[1:])), r"holds the gate 0\.5"),
    ],
)
def test_masks_that_cannot_be_used(small_encoder, pictures, masks, change, message):
    with pytest.raises(ValueError, match=message):
        compensate(small_encoder, change(masks), pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "refit"}, "unknown method 'refit'. Use one of: reconstruct, fold"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"ridge": -1.0}, "ridge is -1.0"),
        ({"ridge": math.nan}, "ridge is nan"),
        ({"calibration": torch.full((1, 3, 32, 32), math.nan)}, "NaN or infinite"),
        ({"calibration": torch.zeros(1, 3, 16, 16)}, r"\(1, 3, 16, 16\), but this encoder reads \(N, 3, 32, 32\)"),
        ({"calibration": torch.zeros(0, 3, 32, 32)}, "at least one image"),
        ({"token_weights": torch.zeros(3, 8, 8)}, "not all zero"),
        ({"token_weights": torch.ones(1, 8, 8)}, "for 3 pictures"),
    ],
)
def test_other_input_that_cannot_be_used(small_encoder, pictures, masks, change, message):
    with pytest.raises(ValueError, match=message):
        compensate(**{"encoder": small_encoder, "masks": masks, "calibration": pictures, **change})
    with pytest.raises(TypeError, match="not an encoder of the SAM family"):
        compensate(nn.Linear(3, 3), masks, pictures)


# Real data


@torch.no_grad()
def test_lite_medsam_on_a_real_frame_it_was_not_calibrated_on(real_data):
    """46 % of the encoder gone: the masks come from one phantom, the weights from one real frame."""
    frame, other = (load_segmentation(real_data / "polyps_256.npz", split)[0] for split in ("test", "train"))
    model, box = lite_medsam(), boxes_from_masks(frame.mask[None])
    calibration = model.inputs([polyp_phantom(seed=5).image, other.image])
    masks = select_by_reconstruction(model.encoder, calibration[:1], 0.46)
    assert removed_parameters(model.encoder, masks) > 0.459 * sum(p.numel() for p in model.encoder.parameters())
    mended = compensate(model.encoder, masks, calibration[1:])
    dense, repaired, without = (
        dice(model.with_encoder(encoder).logits([frame.image], box)[0] > 0, frame.mask)
        for encoder in (model.encoder, mended, zeroed(model.encoder, masks))
    )
    assert repaired > dense - 0.05
    assert repaired > without + 0.1
