"""Records of images with their lesion masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SegmentationSample:
    """One image with its mask.

    Attributes:
        name: unique within its set.
        image: uint8 (H, W, 3).
        mask: bool (H, W), True on the lesion; all False when the image shows none.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class SegmentationSet:
    """Images with their masks, in a fixed order.

    Images of one size stand in one array; images of different sizes in a tuple of arrays. Length, iteration
    and integer indexing are the same for both, and give `SegmentationSample` records on the set itself.

    Attributes:
        images: uint8 (N, H, W, 3), or a tuple of N arrays (H_i, W_i, 3).
        masks: bool (N, H, W), or a tuple of N arrays (H_i, W_i).
        names: one name a sample.
        source: where the samples come from, for captions.
    """

    images: np.ndarray | tuple[np.ndarray, ...]
    masks: np.ndarray | tuple[np.ndarray, ...]
    names: tuple[str, ...]
    source: str

    @classmethod
    def from_samples(cls, samples: Sequence[SegmentationSample], source: str) -> "SegmentationSet":
        """Gather at least one sample; stack the images when they share one size.

        Raises:
            ValueError: when there is no sample, or an image and its mask differ in size.
        """
        if not samples:
            raise ValueError(f"{source} holds no sample; a segmentation set needs at least one.")
        for sample in samples:
            if sample.image.shape[:2] != sample.mask.shape:
                raise ValueError(
                    f"{sample.name}: the image is {_size(sample.image)} and its mask {_size(sample.mask)} "
                    "(height × width); a mask marks its image pixel by pixel. Resize the mask with nearest "
                    "neighbour, or check that the two belong together."
                )
        images, masks = tuple(s.image for s in samples), tuple(s.mask for s in samples)
        if len({mask.shape for mask in masks}) == 1:
            images, masks = np.stack(images), np.stack(masks)
        return cls(images, masks, tuple(s.name for s in samples), source)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> SegmentationSample:
        return SegmentationSample(self.names[index], self.images[index], self.masks[index])

    def __iter__(self) -> Iterator[SegmentationSample]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        sizes = sorted({mask.shape for mask in self.masks})
        size = _size(self.masks[0]) if len(sizes) == 1 else f"{len(sizes)} sizes"
        return f"SegmentationSet({len(self)} from {self.source}, {size})"


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} × {array.shape[1]}"
