"""Which groups go: curves of what is really read, and the cheapest way to a budget."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from medlib.models import tiny_sam
from medlib.pruning import PruningMasks, encoder_blocks, removed_parameters
from medlib.pruning.compact import compact
from medlib.pruning.reconstruction import ReconstructionCurves, reconstruction_curves, select_by_reconstruction
from medlib.pruning.removal_curve import RemovalCurve, removal_curve

torch.set_num_threads(1)


def parameters(encoder: nn.Module) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def largest_budget(encoder: nn.Module) -> float:
    """Share that can go when one head and 5 % of the channels stay."""
    return sum(
        (block.heads - 1) * block.head_parameters
        + (block.channels - max(1, round(0.05 * block.channels))) * block.channel_parameters
        for block in encoder_blocks(encoder)
    ) / parameters(encoder)


@torch.no_grad()
def read_by(encoder: nn.Module, path: str, pictures: Tensor) -> Tensor:
    """What a linear map reads when the encoder itself runs, (N, tokens, inputs)."""
    seen = []
    hook = encoder.get_submodule(path).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network = encoder if isinstance(encoder, ImageEncoderViT) else nn.Sequential(encoder.patch_embed, *encoder.layers)
    network(pictures)
    hook.remove()
    return seen[0].reshape(len(pictures), -1, seen[0].shape[-1])


def assert_same(found: RemovalCurve, expected: RemovalCurve) -> None:
    assert torch.equal(found.order, expected.order)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_those_of_what_the_maps_read(small_encoder, pictures, weighted):
    """Of MLP maps, which read the tokens in order; each picture weighs by itself."""
    shares = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    weights = shares[:, None, None].expand(3, 4, 4) if weighted else None
    curves = reconstruction_curves(small_encoder, pictures, weights)
    for block, found in zip(encoder_blocks(small_encoder), curves.channels, strict=True):
        read = read_by(small_encoder, block.contraction, pictures)
        tokens = np.repeat(shares.numpy(), read.shape[1]) if weighted else None
        covariance = torch.from_numpy(np.cov(read.flatten(0, 1).T.numpy(), aweights=tokens, ddof=0))
        least = max(1, round(0.05 * block.channels))
        linear = small_encoder.get_submodule(block.contraction)
        assert_same(found, removal_curve(linear.weight, covariance, 1, least))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_curve_of_heads_is_that_of_what_the_projection_reads(pictures, weighted):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = ImageEncoderViT(img_size=32, patch_size=4, embed_dim=48, depth=1, num_heads=4, out_chans=8).double()
    shares = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    read = read_by(encoder, "blocks.0.attn.proj", pictures).flatten(0, 1)
    tokens = np.repeat(shares.numpy(), 64) if weighted else None
    covariance = torch.from_numpy(np.cov(read.T, aweights=tokens, ddof=0))
    weights = shares[:, None, None].expand(3, 8, 8) if weighted else None
    expected = removal_curve(encoder.blocks[0].attn.proj.weight, covariance, 12, 1)
    assert_same(reconstruction_curves(encoder, pictures, weights).heads[0], expected)


def test_places_count_by_their_weight_and_not_by_its_scale(small_encoder, pictures):
    weights = torch.zeros(3, 8, 8)
    weights[..., :4] = 1
    whole, half = (reconstruction_curves(small_encoder, pictures, w) for w in (None, weights))
    assert not np.allclose(whole.channels[0].error, half.channels[0].error, rtol=1e-3)
    again = reconstruction_curves(small_encoder, pictures, 5 * weights)
    np.testing.assert_allclose(again.channels[0].error, half.channels[0].error, rtol=1e-6)


def test_the_budget_is_met_to_within_a_group_and_more_budget_removes_more(small_encoder, pictures):
    curves, total = reconstruction_curves(small_encoder, pictures), parameters(small_encoder)
    group = max(block.head_parameters for block in encoder_blocks(small_encoder))
    removed = []
    for budget in np.linspace(0, largest_budget(small_encoder), 40):
        masks = curves.select(float(budget))
        removed.append(removed_parameters(small_encoder, masks))
        assert abs(removed[-1] - budget * total) <= group
        assert all(set(mask.tolist()) <= {0, 1} for mask in (*masks.heads, *masks.channels))
    assert removed[0] == 0 and removed == sorted(removed)
    for block, heads, channels in zip(encoder_blocks(small_encoder), masks.heads, masks.channels):
        assert heads.sum() == 1 and channels.sum() == max(1, round(0.05 * block.channels))


def test_selection_takes_the_groups_that_the_curves_name_first(small_encoder, pictures):
    curves = reconstruction_curves(small_encoder, pictures)
    masks = select_by_reconstruction(small_encoder, pictures, 0.3)
    for kind, sites in (("heads", curves.heads), ("channels", curves.channels)):
        for gates, curve in zip(getattr(masks, kind), sites, strict=True):
            gone = int((gates == 0).sum())
            assert set((gates == 0).nonzero().flatten().tolist()) == set(curve.order[:gone].tolist())
    assert torch.cat(masks.channels).sum() < sum(block.channels for block in encoder_blocks(small_encoder))


# The budget, on curves made up by hand. Heads cost so much that none goes.


def made_up(encoder: nn.Module, channels: list[list[float]]) -> ReconstructionCurves:
    dear = RemovalCurve(torch.arange(3), 1e6 * torch.arange(1, 4, dtype=torch.float64), 4)
    curves = [RemovalCurve(torch.arange(len(e)), torch.tensor(e, dtype=torch.float64), len(e) + 1) for e in channels]
    return ReconstructionCurves((dear,) * len(curves), tuple(curves), encoder_blocks(encoder), parameters(encoder))


def lost_channels(curves: ReconstructionCurves, encoder: nn.Module, count: int) -> list[int]:
    """How many channels go in each block when the budget is `count` of them."""
    size = encoder_blocks(encoder)[0].channel_parameters
    masks = curves.select((count - 0.5) * size / parameters(encoder))
    assert all(heads.all() for heads in masks.heads)
    return [int((channels == 0).sum()) for channels in masks.channels]


def test_two_that_are_cheap_together_go_before_one_that_is_cheaper_alone():
    """The example of the book: the first removal costs .154, the second only .036 more, so that the hull takes both."""
    covariance = torch.eye(3, dtype=torch.float64)
    covariance[0, 1] = covariance[1, 0] = 0.9
    pair = removal_curve(torch.tensor([[1.0, -0.9, 1e3]], dtype=torch.float64), covariance, 1, 1, ridge=0.0)
    price = (1e6 + 0.19) * pair.error  # as a share of what the map writes
    np.testing.assert_allclose(price, [0.81 * 0.19, 0.19], atol=1e-6)
    encoder = tiny_sam(depth=2).encoder
    curves = made_up(encoder, [[*price.tolist(), 1e3], [0.12, 0.24, 1e3]])
    assert lost_channels(curves, encoder, 2) == [2, 0]  # 0.190, where one of the other and one of these is 0.274
    assert lost_channels(curves, encoder, 3) == [2, 1]
    assert lost_channels(curves, encoder, 4) == [2, 2]


def test_on_convex_curves_the_allocation_is_the_best_of_all():
    rng, encoder = np.random.default_rng(0), tiny_sam(depth=3).encoder
    errors = [np.sort(rng.uniform(size=6)).cumsum().tolist() for _ in range(3)]
    curves = made_up(encoder, errors)
    for count in range(1, 18):
        found = lost_channels(curves, encoder, count)
        choices = [k for k in itertools.product(range(7), repeat=3) if sum(k) == count]
        prices = {k: sum([0, *e][n] for e, n in zip(errors, k)) for k in choices}
        assert sum(found) == count and prices[tuple(found)] == pytest.approx(min(prices.values()))


def test_a_flat_start_costs_nothing_wherever_it_is():
    encoder = tiny_sam(depth=2).encoder
    curves = made_up(encoder, [[0.5, 1.0, 1.5], [0.0, 0.0, 9.0]])
    assert [lost_channels(curves, encoder, n) for n in (1, 2, 3, 4)] == [[0, 1], [0, 2], [1, 2], [2, 2]]


def test_errors_are_compared_by_the_parameter():
    """A head owns as much as some 48 channels: at the price of ten it goes first, at that of a hundred last."""
    encoder = tiny_sam(depth=1).encoder
    block, line = encoder_blocks(encoder)[0], torch.arange(1, 301, dtype=torch.float64)
    for price, heads, channels in (
        (10.0, 1, 0),
        (100.0, 0, math.ceil(block.head_parameters / block.channel_parameters)),
    ):
        head = RemovalCurve(torch.arange(3), price * torch.arange(1, 4, dtype=torch.float64), 4)
        channel = RemovalCurve(torch.arange(300), line, 301)
        curves = ReconstructionCurves((head,), (channel,), [block], parameters(encoder))
        masks = curves.select(block.head_parameters / parameters(encoder))
        assert [int((mask == 0).sum()) for mask in (masks.heads[0], masks.channels[0])] == [heads, channels]


# What it leaves, what it refuses


def test_the_encoder_handed_in_is_left_alone(small_encoder, pictures):
    small_encoder.train()
    small_encoder.get_submodule(encoder_blocks(small_encoder)[0].projection).weight.requires_grad_(False)
    state, grads = copy.deepcopy(small_encoder.state_dict()), [p.requires_grad for p in small_encoder.parameters()]
    trained = select_by_reconstruction(small_encoder, pictures, 0.3)
    assert small_encoder.training and grads == [p.requires_grad for p in small_encoder.parameters()]
    assert all(torch.equal(value, state[name]) for name, value in small_encoder.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small_encoder.modules())
    evaluated = select_by_reconstruction(small_encoder.eval(), pictures, 0.3)
    assert all(map(torch.equal, trained.heads + trained.channels, evaluated.heads + evaluated.channels))


def test_a_compact_encoder_with_single_heads_can_be_pruned_again(small_encoder, pictures):
    masks = PruningMasks.keep_all(small_encoder)
    for heads, channels in zip(masks.heads, masks.channels):
        heads[1:] = 0
        channels[::2] = 0
    again = select_by_reconstruction(compact(small_encoder, masks), pictures, 0.03)
    assert all(heads.tolist() == [1] for heads in again.heads)
    assert min(channels.sum() for channels in again.channels) > 0 and not all(c.all() for c in again.channels)


def test_channels_that_are_masked_for_good_go_first(small_encoder, pictures):
    """Columns of zeros, as an encoder has them that was compensated but not made compact."""
    gone = [torch.arange(block.channels) % 3 == 0 for block in encoder_blocks(small_encoder)]
    with torch.no_grad():
        for block, dead in zip(encoder_blocks(small_encoder), gone):
            small_encoder.get_submodule(block.contraction).weight[:, dead] = 0
    curves = reconstruction_curves(small_encoder, pictures)
    for curve, dead in zip(curves.channels, gone):
        assert dead[curve.order[: dead.sum()]].all() and torch.isfinite(curve.error).all()


@pytest.mark.parametrize("budget", [-0.1, 0.99, 1.0, math.nan])
def test_a_budget_out_of_range(small_encoder, pictures, budget):
    most = rf"between 0 and {largest_budget(small_encoder):.4f} of them can go"
    with pytest.raises(ValueError, match=most):
        select_by_reconstruction(small_encoder, pictures, budget)
    with pytest.raises(ValueError, match=most):
        made_up(small_encoder, [[1.0]] * len(encoder_blocks(small_encoder))).select(budget)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:0], r"shape \(0, 3, 32, 32\), but this encoder reads \(N, 3, 32, 32\)"),
        (lambda x: x[0], r"shape \(3, 32, 32\)"),
        (lambda x: x[..., :16], r"shape \(3, 3, 32, 16\)"),
        (lambda x: x[:, :1], r"shape \(3, 1, 32, 32\)"),
        (lambda x: x / (x != x[0, 0, 0, 0]), "NaN or infinite"),
        (lambda x: torch.where(x == x[0, 0, 0, 0], torch.nan, x), "NaN or infinite"),
    ],
)
def test_calibration_that_cannot_be_used(small_encoder, pictures, change, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_curves(small_encoder, change(pictures))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(2, 4, 4), r"shape \(2, 4, 4\) for 3 pictures"),
        (torch.ones(3, 16), r"shape \(3, 16\) for 3 pictures"),
        (-torch.ones(3, 4, 4), "non-negative"),
        (torch.full((3, 4, 4), torch.nan), "finite"),
        (torch.tensor([1.0, 0, 1])[:, None, None].expand(3, 4, 4), "not all zero in a picture"),
    ],
)
def test_token_weights_that_cannot_be_used(small_encoder, pictures, weights, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_curves(small_encoder, pictures, weights)


def test_another_kind_of_encoder(pictures):
    with pytest.raises(TypeError, match="not an encoder of the SAM family"):
        select_by_reconstruction(nn.Conv2d(3, 3, 1), pictures, 0.1)
