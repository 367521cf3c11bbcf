"""Interleaved timing, so that a busy machine slows every contender alike."""

import statistics
import tracemalloc
from collections.abc import Callable, Mapping

from medlib.pruning.latency import elapsed_seconds


def interleaved_medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each contender over `rounds` rounds in which all take their turn."""
    for contender in contenders.values():
        contender()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(1000 * elapsed_seconds(contender))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_megabytes(contender: Callable[[], object]) -> float:
    """Peak memory of one call as Python sees it: NumPy's arrays count, torch's tensors do not."""
    tracemalloc.start()
    try:
        contender()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def ratio_table(medians: Mapping[str, float], memory: Mapping[str, float], ours: str) -> str:
    """Text table of milliseconds, ratio to `ours` and peak memory."""
    lines = [f"{'':34}{'ms':>9}{'ratio':>8}{'peak MB':>9}"]
    for name, milliseconds in medians.items():
        peak = f"{memory[name]:9.1f}" if name in memory else f"{'-':>9}"
        lines.append(f"{name:34}{milliseconds:9.2f}{milliseconds / medians[ours]:8.1f}{peak}")
    return "\n".join(lines)
