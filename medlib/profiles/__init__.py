"""Profiles: what to run at which size. One YAML file each: smoke, laptop (the default) and paper."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from medlib.files import read_yaml

FOLDER = Path(__file__).resolve().parent
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Budget = Annotated[float, Field(ge=0.0, lt=1.0)]


class Settings(BaseModel):
    """A frozen record that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Segmentation(Settings):
    """The segmentation model and the images it is shown.

    Attributes:
        model: "lite_medsam" (real weights), "tiny_sam" (trained here) or "medsam_vit_b" (the reader's checkpoint).
        training_steps: optimiser steps for a model that is trained here; 0 when weights are loaded.
        images: number of polyp phantoms, or the most images read from the reader's files.
        image_size: side of the phantoms in pixels.
        data: "phantoms", or "files" when the profile needs `-p polyps PATH`.
    """

    model: Literal["lite_medsam", "tiny_sam", "medsam_vit_b"]
    training_steps: Annotated[int, Field(ge=0)]
    images: Count
    image_size: Annotated[int, Field(ge=64)]
    data: Literal["phantoms", "files"]

    def check_polyps(self, path: str) -> None:
        """Raise ValueError when the profile has no images of its own and none were given."""
        if self.data == "files" and not path:
            raise ValueError(
                "this profile runs on real images and has none of its own. Give a MedSegBench .npz file or a folder "
                "with images/ and masks/: -p polyps PATH."
            )

    def check_checkpoint(self, path: str) -> None:
        """Raise ValueError when the model needs a checkpoint that was not given, or takes none."""
        if self.model == "medsam_vit_b" and not path:
            raise ValueError(
                "this profile runs medsam_vit_b, which needs its weights. Give the path of medsam_vit_b.pth: "
                "-p checkpoint PATH."
            )
        if self.model != "medsam_vit_b" and path:
            raise ValueError(
                f"this profile runs {self.model}, which takes no checkpoint. Leave it empty, or use profile 'paper'."
            )


class Leverage(Settings):
    """The perturbations of the boundary-leverage notebook.

    Attributes:
        images: number of images whose logits are perturbed.
        gates: strengths in (0, 1] at which one structural perturbation is applied, largest first.
        head_budgets: shares of the encoder's heads that are gated off.
        channel_budgets: shares of each block's MLP channels that are gated off.
        heads: number of single heads whose removal is compared with what the gradient foretells.
    """

    images: Count
    gates: tuple[Share, ...]
    head_budgets: tuple[Share, ...]
    channel_budgets: tuple[Share, ...]
    heads: Annotated[int, Field(ge=3)]


class Pruning(Settings):
    """The pair of segmenters that dual intervention compares, and the cascade that prunes the adapted one.

    Attributes:
        pair: "trained" (a tiny SAM and its medical adaptations, trained here) or "vit_b" (the reader's checkpoints of
            SAM and MedSAM).
        image_size: side of the phantoms, and of a trained model's input, in pixels.
        training_images: images of each training stage, three or more; 0 when weights are loaded.
        reference_steps: optimiser steps of the general model; 0 when weights are loaded.
        adaptation_steps: optimiser steps of each adaptation; 0 when weights are loaded.
        adaptation_seeds: number of adaptations, and so of repetitions of every comparison.
        box_jitter: largest shift of each side of a box in pixels, in training and test.
        calibration_images: images of each dataset that scores and recovery see.
        test_images: other images of each dataset, for the scores.
        removal_images: images on which the segmentation model loses every head in turn, and as many others for its
            scores.
        head_budget: share of the encoder's heads to remove.
        mlp_budget: share of the encoder's MLP channels to remove.
        protected_blocks: how many of the last blocks are left whole.
        recovery_steps: optimiser steps of each recovery.
        recovery_rate: learning rate of recovery.
    """

    pair: Literal["trained", "vit_b"]
    image_size: Annotated[int, Field(ge=64)]
    training_images: Annotated[int, Field(ge=0)]
    reference_steps: Annotated[int, Field(ge=0)]
    adaptation_steps: Annotated[int, Field(ge=0)]
    adaptation_seeds: Count
    box_jitter: Annotated[int, Field(ge=0)]
    calibration_images: Count
    test_images: Count
    removal_images: Count
    head_budget: Share
    mlp_budget: Share
    protected_blocks: Annotated[int, Field(ge=0)]
    recovery_steps: Count
    recovery_rate: Annotated[float, Field(gt=0.0)]

    def check_pair(self, checkpoint: str, reference: str) -> None:
        """Raise ValueError when a checkpoint of the pair was needed and not given, or given and not needed."""
        files = {"checkpoint": (checkpoint, "medsam_vit_b.pth"), "reference": (reference, "sam_vit_b_01ec64.pth")}
        for parameter, (path, name) in files.items():
            if self.pair == "vit_b" and not path:
                raise ValueError(
                    f"this profile prunes MedSAM ViT-B against SAM ViT-B, and needs the weights of both. Give the path "
                    f"of {name}: -p {parameter} PATH."
                )
            if self.pair == "trained" and path:
                raise ValueError(
                    f"this profile trains its own pair, which takes no {parameter}. Leave it empty, or use profile "
                    "'paper'."
                )


class Compensation(Settings):
    """Compensated pruning of the segmentation model.

    Attributes:
        budgets: shares of the encoder's parameters that are removed, smallest first.
        calibration_images: pictures in a calibration set.
        calibration_sets: sets drawn independently.
        fewer_images: smaller calibration sets that are tried at the largest budget.
        test_images: other pictures, for the scores.
    """

    budgets: Annotated[tuple[Share, ...], Field(min_length=2)]
    calibration_images: Count
    calibration_sets: Count
    fewer_images: tuple[Count, ...]
    test_images: Count


class Fragility(Settings):
    """The grid of budgets on which head steps are compared with MLP steps.

    Attributes:
        images: number of images that every model of the grid segments.
        calibration_images: number of other images of these that the scores for one image's cuts see.
        head_budgets: shares of the encoder's heads to remove, increasing.
        channel_budgets: shares of its MLP channels, increasing.
        channel_stride: levels of the grid that an MLP step spans; it makes MLP steps as much larger than head steps as
            they are in the published sweep.
        rule: how a budget is shared out over the blocks.
        protected_blocks: how many of the last blocks are left whole.
        box_jitter: largest shift of each side of a box in pixels, where jittered boxes are compared with exact ones.
    """

    images: Count
    calibration_images: Count
    head_budgets: tuple[Budget, ...]
    channel_budgets: tuple[Budget, ...]
    channel_stride: Count
    rule: Literal["waterfill", "authors", "uniform"]
    protected_blocks: Annotated[int, Field(ge=0)]
    box_jitter: Count


class Profile(Settings):
    """Everything a notebook needs to know about how much to run."""

    name: str
    purpose: str
    segmentation: Segmentation
    leverage: Leverage
    fragility: Fragility
    pruning: Pruning
    compensation: Compensation


def profile_names() -> list[str]:
    """The profiles that exist, by file name.

    >>> profile_names()
    ['laptop', 'paper', 'smoke']
    """
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read and check one profile.

    Args:
        name: one of `profile_names()`.

    Raises:
        ValueError: no such profile, or its file has unknown keys, missing keys or wrong types.

    >>> load_profile("smoke").segmentation.model
    'tiny_sam'
    """
    if name not in profile_names():
        raise ValueError(f"unknown profile {name!r}. Use one of: {', '.join(profile_names())}.")
    profile = read_yaml(FOLDER / f"{name}.yaml", Profile)
    if profile.name != name:
        raise ValueError(f"{name}.yaml says its name is {profile.name!r}. Make the two agree.")
    return profile
