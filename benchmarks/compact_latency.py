"""How much of the FLOPs that compaction saves comes back as time.

Half the heads and .7 of the MLP channels go, at random. Run with `python -m benchmarks.compact_latency`.
"""

import argparse

import numpy as np
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from benchmarks.tensor_memory import peak_tensor_megabytes
from benchmarks.timing import interleaved_medians, ratio_table
from medlib.models import lite_medsam
from medlib.pruning import random_masks
from medlib.pruning.compact import compact
from medlib.pruning.cost import encoder_cost


def vit_b_blocks(image_size: int) -> nn.Module:
    """SAM ViT-B's patch embedding and neck with its first three blocks: two with windows, one global."""
    return ImageEncoderViT(
        img_size=image_size, depth=3, use_rel_pos=True, window_size=14, global_attn_indexes=(2,)
    ).eval()


def measure(name: str, encoder: nn.Module, rounds: int) -> None:
    """Prints milliseconds of an image and memory, dense and compact, and the speed-up beside the FLOPs ratio."""
    smaller = compact(encoder, random_masks(encoder, heads=0.5, channels=0.7, generator=np.random.default_rng(0)))
    image = torch.rand(1, 3, encoder.img_size, encoder.img_size, generator=torch.Generator().manual_seed(0))
    contenders = {"dense": lambda: encoder(image), "compact": lambda: smaller(image)}
    medians = interleaved_medians(contenders, rounds)
    memory = {kind: peak_tensor_megabytes(contender) for kind, contender in contenders.items()}
    print(f"{name}, one image of {encoder.img_size}², {torch.get_num_threads()} threads:")
    print(ratio_table(medians, memory, ours="compact"))
    speed_up = medians["dense"] / medians["compact"]
    for rule in ("operators", "analytic"):
        saved = encoder_cost(encoder, rule=rule).flops / encoder_cost(smaller, rule=rule).flops
        print(f"  FLOPs ratio ({rule}) {saved:.2f}; the speed-up of {speed_up:.2f} is {speed_up / saved:.0%} of it")


@torch.no_grad()
def main() -> None:
    """Measures both encoders of the family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    measure("Three blocks of SAM ViT-B", vit_b_blocks(arguments.image_size), arguments.rounds)
    measure("LiteMedSAM's TinyViT", lite_medsam().encoder, arguments.rounds)


if __name__ == "__main__":
    main()
