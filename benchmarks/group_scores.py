"""Dual-intervention scores of every group of ViT-B: medlib against a plain transcription of the definitions.

Run with `python -m benchmarks.group_scores`. Weights and Fisher informations are random: the arithmetic is the same.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.score_transcriptions import plain_group_scores
from benchmarks.tensor_memory import peak_tensor_megabytes
from benchmarks.timing import ratio_table
from medlib.models import sam_vit_b
from medlib.pruning.scores import GroupScores, group_scores


def random_fisher(encoder: torch.nn.Module, seed: int) -> dict[str, Tensor]:
    """Positive numbers in the shape of each encoder parameter."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=generator) for name, p in encoder.named_parameters()}


def seconds(contender: Callable[[], object]) -> tuple[float, object]:
    """Wall time of one call, and what it returned."""
    start = time.perf_counter()
    result = contender()
    return time.perf_counter() - start, result


def flat(scores: GroupScores) -> Tensor:
    """All scores in one row: zeroing before resetting, heads before channels."""
    kinds = (scores.zero, scores.reset)
    return torch.cat([values for kind in kinds for values in (*kind.heads, *kind.channels)])


def main() -> None:
    """Prints milliseconds, the ratio, memory and the largest relative difference."""
    torch.set_num_threads(1)
    encoder, reference = sam_vit_b(seed=0).encoder, sam_vit_b(seed=1).encoder
    given = (encoder, reference, random_fisher(encoder, 0), random_fisher(encoder, 1))
    contenders = {"medlib": lambda: group_scores(*given), "plain transcription": lambda: plain_group_scores(*given)}
    contenders["medlib"]()
    before, ours = seconds(contenders["medlib"])
    slow, plain = seconds(contenders["plain transcription"])
    after, _ = seconds(contenders["medlib"])
    memory = {"medlib": peak_tensor_megabytes(contenders["medlib"])}
    print("Both scores of the 144 heads and 36,864 MLP channels of ViT-B:")
    medians = {"medlib": 500 * (before + after), "plain transcription": 1000 * slow}
    print(ratio_table(medians, memory, ours="medlib"))
    expected = torch.tensor([value for kinds in plain for kind in kinds for block in kind for value in block])
    print(f"largest relative difference: {float((flat(ours) / expected - 1).abs().max()):.2g}")


if __name__ == "__main__":
    main()
