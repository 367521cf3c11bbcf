"""The papermill parameters of the notebooks: their names, types and meaning, checked before any work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlib.profiles import load_profile


@dataclass(frozen=True)
class Parameter:
    """One papermill parameter.

    Attributes:
        type: the Python type its value must have.
        meaning: what it does, for people.
        check: raises when a value of the right type cannot be used.
    """

    type: type
    meaning: str
    check: Callable[[Any], object]


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}, but a random generator takes whole numbers from 0 up. Use 0 or more.")


def _check_path(path: str) -> None:
    if path and not Path(path).expanduser().exists():
        raise FileNotFoundError(f"{path} does not exist. Give the path of your file or folder, or leave it empty.")


PARAMETERS: dict[str, Parameter] = {
    "profile": Parameter(str, "how much to run: smoke, laptop or paper", load_profile),
    "seed": Parameter(int, "seed of every random generator of the run", _check_seed),
    "polyps": Parameter(str, "your images: a MedSegBench .npz file, or a folder with images/ and masks/", _check_path),
    "checkpoint": Parameter(str, "your ViT-B checkpoint (SAM or MedSAM) for profiles that need one", _check_path),
    "reference": Parameter(str, "the SAM ViT-B checkpoint that your MedSAM was adapted from, likewise", _check_path),
}


def check_parameters(given: Mapping[str, Any], declared: list[str]) -> None:
    """Check the parameters of a run against what a notebook declares.

    Args:
        given: name → value.
        declared: the names in the notebook's parameters cell.

    Raises:
        ValueError: a name the notebook does not take, an unknown profile, a seed below 0, or a profile that needs
            a file which was not given.
        TypeError: a value of the wrong type.
        FileNotFoundError: a path that does not exist.
    """
    for name, value in given.items():
        if name not in declared or name not in PARAMETERS:
            raise ValueError(f"unknown parameter {name!r}. This notebook takes: {', '.join(declared)}.")
        parameter = PARAMETERS[name]
        if not isinstance(value, parameter.type) or isinstance(value, bool):
            raise TypeError(
                f"parameter {name} is {value!r} ({type(value).__name__}), but must be {parameter.type.__name__}: "
                f"{parameter.meaning}."
            )
        parameter.check(value)
    if "profile" in given:
        profile = load_profile(given["profile"])
        checkpoint = given.get("checkpoint", "")
        if "polyps" in declared:
            profile.segmentation.check_polyps(given.get("polyps", ""))
        if "checkpoint" in declared:
            profile.segmentation.check_checkpoint(checkpoint)
        if "reference" in declared:
            profile.pruning.check_pair(checkpoint, given.get("reference", ""))
