"""Masks gate groups for as long as they are asked to, and random masks remove what was asked for."""

import numpy as np
import pytest
import torch
from torch import nn

from medlib.models import lite_medsam, tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, masked, random_masks, removed_parameters

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return tiny_sam(size=64).encoder


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def masks(encoder: nn.Module) -> PruningMasks:
    return random_masks(encoder, heads=0.5, channels=0.3, generator=np.random.default_rng(0))


@torch.no_grad()
def run(encoder: nn.Module, image: torch.Tensor, masks: PruningMasks) -> torch.Tensor:
    with masked(encoder, masks) as gated:
        return gated(image)


def hooks(encoder: nn.Module) -> int:
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in encoder.modules() for kind in kinds)


@torch.no_grad()
def test_nothing_is_left_changed(encoder, image, masks):
    intact, state = encoder(image), {name: value.clone() for name, value in encoder.state_dict().items()}
    assert not torch.equal(run(encoder, image, masks), intact)
    assert hooks(encoder) == 0 and not encoder.training
    assert torch.equal(encoder(image), intact)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


@torch.no_grad()
def test_nothing_is_left_changed_after_an_error(encoder, image, masks):
    intact = encoder(image)
    with pytest.raises(RuntimeError, match="inside"), masked(encoder, masks):
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError), masked(encoder, masks):
        encoder(image[:, :, :60])
    assert hooks(encoder) == 0
    assert torch.equal(encoder(image), intact)


@torch.no_grad()
def test_masks_that_keep_everything_change_not_one_bit(encoder, image, masks):
    intact = encoder(image)
    assert torch.equal(run(encoder, image, PruningMasks.keep_all(encoder)), intact)
    assert torch.equal(run(encoder, image, masks.weakened(0.0)), intact)


def test_weakening_is_a_share_of_the_full_removal(encoder, image, masks):
    for weakened, full in zip(masks.weakened(0.25).heads, masks.heads, strict=True):
        assert torch.equal(weakened, torch.where(full == 0, 0.75, 1.0))
    for weakened, full in zip(masks.weakened(1.0).channels, masks.channels, strict=True):
        assert torch.equal(weakened, full)
    assert torch.equal(run(encoder, image, masks.weakened(1.0)), run(encoder, image, masks))


@pytest.mark.parametrize("gate", [-0.1, 1.1, float("nan")])
def test_a_gate_is_a_share(masks, gate: float):
    with pytest.raises(ValueError, match=rf"gate is {gate}, but is a share .* Give a number in \[0, 1\]"):
        masks.weakened(gate)


@torch.no_grad()
def test_masks_inside_masks_multiply(encoder, image, masks):
    halves = masks.weakened(0.5)
    product = PruningMasks(tuple(m**2 for m in halves.heads), tuple(m**2 for m in halves.channels))
    with masked(encoder, halves):
        outer = encoder(image)
        nested = run(encoder, image, halves)
        assert torch.equal(encoder(image), outer), "the inner masks are gone, the outer ones stay"
    np.testing.assert_allclose(nested, run(encoder, image, product), atol=1e-5)


@pytest.mark.parametrize(("kind", "path"), [("heads", "blocks.0.attn"), ("channels", "blocks.0.mlp")])
@torch.no_grad()
def test_the_output_of_a_gated_layer_is_linear_in_the_gate(kind: str, path: str):
    encoder = tiny_sam(size=64, seed=1).encoder.double()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    masks = PruningMasks.keep_all(encoder)
    getattr(masks, kind)[0][1] = 0
    outputs, layer = [], encoder.get_submodule(path)
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for gate in (0.0, 1.0, 0.25, 0.75):
        run(encoder, image, masks.weakened(gate))
    handle.remove()
    kept, gone, quarter, most = outputs
    assert (gone - kept).abs().max() > 1e-4
    torch.testing.assert_close(quarter, kept + 0.25 * (gone - kept), rtol=0, atol=1e-12)
    torch.testing.assert_close(most, kept + 0.75 * (gone - kept), rtol=0, atol=1e-12)


# --- masks that do not fit --------------------------------------------------------------------------------------


def changed(masks: PruningMasks, kind: str, value) -> PruningMasks:
    """These masks with the one of the second block replaced."""
    fields = {"heads": masks.heads, "channels": masks.channels}
    return PruningMasks(**{**fields, kind: (fields[kind][0], value, *fields[kind][2:])})


@pytest.mark.parametrize("use", [lambda e, m: masked(e, m).__enter__(), removed_parameters])
def test_masks_that_do_not_fit_are_refused(encoder, masks, use):
    wrong = {
        "3 head masks for 4 blocks. Give one mask a block": PruningMasks(masks.heads[:3], masks.channels),
        "5 channel masks for 4 blocks": PruningMasks(masks.heads, (*masks.channels, masks.channels[0])),
        r"head mask of blocks\.1 has shape \(5,\), but the block has 4 heads": changed(masks, "heads", torch.ones(5)),
        r"the head mask of blocks\.1 has shape \(4, 1\)": changed(masks, "heads", torch.ones(4, 1)),
        r"channel mask of blocks\.1 has shape \(4,\), but .* has 384": changed(masks, "channels", torch.ones(4)),
        r"the head mask of blocks\.1 leaves \[0, 1\]": changed(masks, "heads", torch.tensor([0.0, 1.1, 1, 1])),
        r"the channel mask of blocks\.1 leaves \[0, 1\]": changed(masks, "channels", torch.full((384,), -0.1)),
        r"the head mask of blocks\.1 leaves": changed(masks, "heads", torch.tensor([0.0, torch.nan, 1, 1])),
    }
    for message, bad in wrong.items():
        with pytest.raises(ValueError, match=message):
            use(encoder, bad)
        assert hooks(encoder) == 0


# --- random masks -----------------------------------------------------------------------------------------------


def flat(masks: PruningMasks) -> torch.Tensor:
    return torch.cat([*masks.heads, *masks.channels])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.75])
def test_as_many_groups_go_as_were_asked_for(encoder, share: float):
    masks = random_masks(encoder, share, share, np.random.default_rng(1))
    assert set(flat(masks).tolist()) <= {0.0, 1.0}
    assert sum(int((mask == 0).sum()) for mask in masks.heads) == round(share * 16)
    assert [int((mask == 0).sum()) for mask in masks.channels] == [round(share * 384)] * 4


def test_heads_and_channels_are_asked_for_apart(encoder):
    heads, channels = (random_masks(encoder, *shares, np.random.default_rng(1)) for shares in ((0.5, 0.0), (0.0, 0.5)))
    assert all((mask == 1).all() for mask in (*heads.channels, *channels.heads))


@pytest.mark.parametrize("seed", range(5))
def test_one_head_stays_in_every_block(encoder, seed: int):
    masks = random_masks(encoder, heads=0.75, channels=0.0, generator=np.random.default_rng(seed))
    assert [int(mask.sum()) for mask in masks.heads] == [1, 1, 1, 1]


def test_one_head_stays_in_every_block_of_lite_medsam():
    masks = random_masks(lite_medsam().encoder, heads=0.8, channels=0.1, generator=np.random.default_rng(0))
    assert sum(int((mask == 0).sum()) for mask in masks.heads) == round(0.8 * 58)
    assert min(int(mask.sum()) for mask in masks.heads) >= 1


def test_masks_follow_their_generator(encoder):
    one, again, other = (flat(random_masks(encoder, 0.5, 0.5, np.random.default_rng(s))) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_every_group_of_equal_blocks_has_the_same_chance(encoder):
    generator = np.random.default_rng(5)
    removed = torch.stack([1 - flat(random_masks(encoder, 0.25, 0.25, generator)) for _ in range(400)]).mean(dim=0)
    assert (removed[:16] - 0.25).abs().max() < 0.1
    assert (removed[16:] - 0.25).abs().max() < 0.12


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", ["heads", "channels"])
def test_shares_lie_below_one(encoder, name: str, share: float):
    shares = {"heads": 0.1, "channels": 0.1, name: share}
    with pytest.raises(ValueError, match=rf"{name} is {share}, but is the share of {name} to remove"):
        random_masks(encoder, **shares, generator=np.random.default_rng(0))


def test_more_heads_than_can_go(encoder):
    with pytest.raises(ValueError, match="13 heads cannot go: 12 can, when one stays in each block"):
        random_masks(encoder, heads=0.8, channels=0.0, generator=np.random.default_rng(0))


def test_gates_follow_the_encoders_blocks(encoder):
    masks = PruningMasks.keep_all(encoder)
    assert [len(m) for m in masks.heads] == [b.heads for b in encoder_blocks(encoder)]
    assert [len(m) for m in masks.channels] == [b.channels for b in encoder_blocks(encoder)]
