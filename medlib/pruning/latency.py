"""How long a call takes."""

import statistics
import time
from collections.abc import Callable

import torch


def measure_latency(function: Callable[[], object], repeats: int = 7) -> float:
    """Median seconds of a call, after one that is not counted.

    Args:
        function: what is timed, called without arguments.
        repeats: how many calls are counted, at least 1.

    Raises:
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}, but a median needs at least one call. Give 1 or more.")
    function()
    return statistics.median(elapsed_seconds(function) for _ in range(repeats))


def elapsed_seconds(function: Callable[[], object]) -> float:
    """Seconds of one call, until the work that it gave a GPU is done."""
    _finish_gpu_work()
    start = time.perf_counter()
    function()
    _finish_gpu_work()
    return time.perf_counter() - start


def _finish_gpu_work() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
