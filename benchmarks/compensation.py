"""Time and quality of compensated pruning of LiteMedSAM, beside a plain transcription with equal shares everywhere.

Both use the same calibration pictures and remove the same share of parameters. Run with
`python -m benchmarks.compensation`.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmarks.reconstruction_transcription import plain_reconstruction
from medlib.data import polyp_phantoms
from medlib.models import lite_medsam
from medlib.pruning.compensation import compensate
from medlib.pruning.reconstruction import select_by_reconstruction

Result = TypeVar("Result")


def timed(contender: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result of one call with its seconds: of the clock, and of all processor cores together."""
    wall, processor = time.perf_counter(), time.process_time()
    result = contender()
    return result, time.perf_counter() - wall, time.process_time() - processor


@torch.no_grad()
def relative_error(encoder: nn.Module, dense: nn.Module, inputs: Tensor) -> float:
    """‖f(x) − f_dense(x)‖² / ‖f_dense(x) − its mean‖² of the image embeddings."""
    found, expected = (torch.cat([network(picture[None]) for picture in inputs]) for network in (encoder, dense))
    return float((found - expected).square().mean() / expected.var())


def main() -> None:
    """Runs both once and prints seconds, ratios and errors on held-out phantoms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=8)
    arguments = parser.parse_args()
    model = lite_medsam()
    encoder = model.encoder
    calibration = model.inputs(polyp_phantoms(arguments.pictures, seed=50).images)
    held_out = model.inputs(polyp_phantoms(4, seed=90).images)
    total = sum(parameter.numel() for parameter in encoder.parameters())

    (plain, removed), plain_wall, plain_cpu = timed(lambda: plain_reconstruction(encoder, calibration, 0.5, 0.6))
    share = removed / total
    masks, select_wall, select_cpu = timed(lambda: select_by_reconstruction(encoder, calibration, share))
    mended, solve_wall, solve_cpu = timed(lambda: compensate(encoder, masks, calibration))

    print(f"LiteMedSAM, {arguments.pictures} pictures, {torch.get_num_threads()} threads, {share:.1%} removed:")
    print(f"{'':34}{'wall s':>9}{'CPU s':>9}{'error on 4 others':>19}")
    print(f"{'  select_by_reconstruction':34}{select_wall:9.1f}{select_cpu:9.1f}")
    print(f"{'  compensate':34}{solve_wall:9.1f}{solve_cpu:9.1f}")
    wall, cpu = select_wall + solve_wall, select_cpu + solve_cpu
    print(f"{'medlib, both':34}{wall:9.1f}{cpu:9.1f}{relative_error(mended, encoder, held_out):19.4f}")
    error = relative_error(plain, encoder, held_out)
    print(f"{'plain transcription':34}{plain_wall:9.1f}{plain_cpu:9.1f}{error:19.4f}")
    print(
        f"the transcription takes {plain_wall / wall:.2f} times the wall and {plain_cpu / cpu:.2f} times the CPU time"
    )


if __name__ == "__main__":
    main()
