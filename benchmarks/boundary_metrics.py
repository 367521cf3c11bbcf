"""Boundary F1 and HD95 of 1024×1024 pairs: medlib, the plain transcription, MONAI.

Run with `python -m benchmarks.boundary_metrics`; MONAI comes with the `benchmark` extra.
"""

import argparse

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from benchmarks.lesions import Pair, lesion_pair
from benchmarks.timing import interleaved_medians, peak_megabytes, ratio_table
from benchmarks.transcriptions import plain_boundary_f1, plain_hd95
from medlib.boundary import boundary_f1, hd95, segmentation_scores


def ours(pair: Pair) -> tuple[float, float]:
    """Boundary F1 with the tolerance, and HD95, by medlib."""
    return boundary_f1(*pair), hd95(*pair)


def plain(pair: Pair) -> tuple[float, float]:
    """The same by the plain transcription."""
    return plain_boundary_f1(*pair), plain_hd95(*pair)


def monai(pair: Pair) -> tuple[float, float]:
    """MONAI's nearest equivalents: surface Dice within 2 pixels, and HD95 with 4-connected surfaces."""
    pred, target = (torch.from_numpy(mask)[None, None] for mask in pair)
    surface = compute_surface_dice(pred, target, class_thresholds=[2.0], include_background=True)
    distance = compute_hausdorff_distance(pred, target, include_background=True, percentile=95)
    return float(surface), float(distance)


def main() -> None:
    """Prints milliseconds a pair, ratios, memory, and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(arguments.seed)
    pairs = [lesion_pair(generator) for _ in range(arguments.pairs)]
    shares = [target.mean() for _, target in pairs]
    contenders = {
        "medlib": lambda: [ours(pair) for pair in pairs],
        "medlib, all four scores": lambda: [segmentation_scores(*pair) for pair in pairs],
        "plain scipy transcription": lambda: [plain(pair) for pair in pairs],
        "MONAI surface Dice + HD95": lambda: [monai(pair) for pair in pairs],
    }
    medians = interleaved_medians(contenders, rounds=5)
    memory = {name: peak_megabytes(contender) for name, contender in contenders.items()}
    print(f"BF1 + HD95 of a 1024×1024 pair, {len(pairs)} lesions of {min(shares):.1%} to {max(shares):.1%}:")
    print(ratio_table({name: value / len(pairs) for name, value in medians.items()}, memory, ours="medlib"))
    values = {name: np.array([score(pair) for pair in pairs]) for name, score in _SCORES.items()}
    exact = np.abs(values["medlib"] - values["plain"]).max(axis=0)
    monai_hd95 = np.abs(values["medlib"] - values["monai"])[:, 1].max()
    print(f"largest |medlib − transcription|: BF1 {exact[0]:g}, HD95 {exact[1]:g} px (must both be 0)")
    print(f"largest |medlib − MONAI| of HD95: {monai_hd95:.3g} px (its surfaces are 4-connected)")
    if exact.any():
        raise SystemExit("medlib differs from the definitions")


_SCORES = {"medlib": ours, "plain": plain, "monai": monai}

if __name__ == "__main__":
    main()
