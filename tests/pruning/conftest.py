"""Small encoders of both kinds, in float64, and pictures for them."""

import copy

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from medlib.models import lite_medsam


def _sam_encoder() -> nn.Module:
    """SAM's ViT: relative positions, one global block, and windows of 3 on a grid of 8, so that padding runs."""
    return ImageEncoderViT(
        img_size=32, patch_size=4, embed_dim=48, depth=3, num_heads=4, out_chans=16, window_size=3,
        use_rel_pos=True, rel_pos_zero_init=False, global_attn_indexes=(1,),
    )  # fmt: skip


def _tiny_vit() -> nn.Module:
    """LiteMedSAM's kind of encoder: windows that need padding, and one as large as its layer's grid of 8."""
    return type(lite_medsam().encoder)(
        img_size=32, embed_dims=[8, 24, 32, 320], depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 5],
        window_sizes=[7, 7, 8, 7], mlp_ratio=0.5, drop_path_rate=0.0,
    )  # fmt: skip


@pytest.fixture(scope="session", params=[_sam_encoder, _tiny_vit], ids=["sam", "tiny_vit"])
def _small_encoder(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder = request.param()
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.double().eval()


@pytest.fixture
def small_encoder(_small_encoder: nn.Module) -> nn.Module:
    """A copy of a small encoder of either kind, whose every parameter, biases of attention included, is random."""
    return copy.deepcopy(_small_encoder)


@pytest.fixture(scope="session")
def pictures() -> Tensor:
    """Three inputs (3, 3, 32, 32) of the small encoders: noise, smooth in part, as neighbouring places are alike."""
    noise = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return noise + 3 * torch.nn.functional.avg_pool2d(noise, 9, stride=1, padding=4)
