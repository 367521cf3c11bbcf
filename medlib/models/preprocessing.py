"""From a photograph to what an encoder of the SAM family expects, and back from its logits to the photograph."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from medlib.data import validate_boxes, validate_image

SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Preprocessing:
    """How one member of the SAM family wants its input.

    Attributes:
        size: side S of the square input in pixels.
        scaling: "min_max" stretches each image to [0, 1] (MedSAM, LiteMedSAM); "imagenet" subtracts the mean and
            divides by the deviation of SAM's training images.
        keep_aspect: True scales the longest side to S and pads at the bottom and right with zeros (SAM, LiteMedSAM);
            False squeezes both sides to S (MedSAM).
    """

    size: int
    scaling: Literal["min_max", "imagenet"] = "min_max"
    keep_aspect: bool = True

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) that an image of height × width takes up in the input."""
        if not self.keep_aspect:
            return self.size, self.size
        scale = self.size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def image(self, image: np.ndarray) -> Tensor:
        """The encoder's input for one image.

        Args:
            image: uint8 (H, W, 3), 0 … 255.

        Returns:
            float32 (3, S, S).

        Raises:
            ValueError: not such an image; see `medlib.data.validate_image`.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(validate_image(image))).permute(2, 0, 1).float()
        rows, columns = self.scaled_size(*pixels.shape[1:])
        if (rows, columns) != tuple(pixels.shape[1:]):
            pixels = transforms.resize(pixels, [rows, columns], antialias=True)
        if self.scaling == "min_max":
            pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-8)
        else:
            mean, deviation = (torch.tensor(v)[:, None, None] for v in (SAM_MEAN, SAM_STD))
            pixels = (pixels - mean) / deviation
        return transforms.pad(pixels, [0, 0, self.size - columns, self.size - rows])

    def mask(self, mask: np.ndarray) -> Tensor:
        """A boolean mask (H, W) on the pixels of the input: float32 (S, S) in [0, 1]."""
        rows, columns = self.scaled_size(*mask.shape)
        scaled = torch.from_numpy(np.ascontiguousarray(mask))[None].float()
        if (rows, columns) != mask.shape:
            scaled = transforms.resize(scaled, [rows, columns], antialias=True)
        return transforms.pad(scaled, [0, 0, self.size - columns, self.size - rows])[0]

    def box(self, box: np.ndarray, height: int, width: int) -> Tensor:
        """A box given in image pixels, in the input's pixels.

        Args:
            box: XYXY, shape (4,), in pixels of an image of height × width.

        Raises:
            ValueError: the box lies outside the image or is empty; see `medlib.data.validate_boxes`.
        """
        validated = validate_boxes(np.asarray(box)[None], height, width)[0]
        rows, columns = self.scaled_size(height, width)
        return torch.as_tensor(validated * np.array([columns / width, rows / height] * 2), dtype=torch.float32)

    def restore(self, low_resolution: Tensor, height: int, width: int) -> Tensor:
        """Logits of the decoder's grid, interpolated to the pixels of the original image.

        Args:
            low_resolution: (N, l, l) logits that cover the whole square input.

        Returns:
            (N, height, width).
        """
        rows, columns = self.scaled_size(height, width)
        full = torch.nn.functional.interpolate(
            low_resolution[:, None], size=(self.size, self.size), mode="bilinear", align_corners=False
        )[..., :rows, :columns]
        if (rows, columns) != (height, width):
            full = torch.nn.functional.interpolate(full, size=(height, width), mode="bilinear", align_corners=False)
        return full[:, 0]
