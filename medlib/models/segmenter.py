"""One small interface over the SAM family: an image and a box in, logits out."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medlib.data import validate_image
from medlib.models.preprocessing import Preprocessing
from medlib.store import content_digest


class Segmenter:
    """A box-prompted segmentation model: image encoder, prompt encoder and mask decoder.

    Args:
        name: what to call it in tables and figures.
        network: a module with `image_encoder`, `prompt_encoder` and `mask_decoder`, as in segment_anything.
        preprocessing: what its encoder expects.
    """

    def __init__(self, name: str, network: nn.Module, preprocessing: Preprocessing) -> None:
        self.name = name
        self.network = network.eval()
        self.preprocessing = preprocessing

    @property
    def encoder(self) -> nn.Module:
        """The image encoder, which is the part that pruning works on."""
        return self.network.image_encoder

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.network.parameters()).device

    def digest(self) -> str:
        """SHA-256 of the weights and the preprocessing."""
        return content_digest({"weights": self.network.state_dict(), "preprocessing": self.preprocessing})

    def to(self, device: torch.device) -> "Segmenter":
        """The same segmenter with its weights moved to `device`."""
        self.network.to(device)
        return self

    def with_encoder(self, encoder: nn.Module) -> "Segmenter":
        """This segmenter with another image encoder of the same output shape; all other weights are shared."""
        network = copy.copy(self.network)
        network._modules = {**self.network._modules, "image_encoder": encoder}
        return Segmenter(self.name, network, self.preprocessing)

    def inputs(self, images: Sequence[np.ndarray]) -> Tensor:
        """Encoder inputs (N, 3, S, S) for uint8 images (H, W, 3)."""
        return torch.stack([self.preprocessing.image(image) for image in images]).to(self.device)

    def boxes(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> Tensor:
        """Box prompts (N, 4) in input pixels for XYXY boxes (N, 4) in image pixels."""
        if len(images) == 0 or len(images) != len(boxes):
            raise ValueError(f"{len(images)} images with {len(boxes)} boxes. Give one box an image.")
        pairs = zip(images, boxes, strict=True)
        return torch.stack([self.preprocessing.box(box, *image.shape[:2]) for image, box in pairs]).to(self.device)

    def decode(self, embeddings: Tensor, boxes: Tensor) -> Tensor:
        """Low-resolution logits for one box an image.

        SAM's decoder takes one image a call and repeats it for each prompt; here the N images and their N prompts go
        through its parts together.

        Args:
            embeddings: (N, C, h, w) of the image encoder.
            boxes: (N, 4) XYXY in input pixels.

        Returns:
            (N, l, l) logits; l is four times h.
        """
        prompts, decoder = self.network.prompt_encoder, self.network.mask_decoder
        sparse, dense = prompts(points=None, boxes=boxes[:, None], masks=None)
        count, channels, height, width = embeddings.shape
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(count, -1, -1)
        position = prompts.get_dense_pe().expand(count, -1, -1, -1)
        hidden, source = decoder.transformer(embeddings + dense, position, torch.cat([tokens, sparse], dim=1))
        source = source.transpose(1, 2).view(count, channels, height, width)
        upscaled = decoder.output_upscaling(source)
        weights = decoder.output_hypernetworks_mlps[0](hidden[:, 1])
        return torch.einsum("nc,nchw->nhw", weights, upscaled)

    @torch.no_grad()
    def embed(self, images: Sequence[np.ndarray], batch: int = 4) -> Tensor:
        """Image embeddings (N, C, h, w) for uint8 images (H, W, 3), `batch` of them at a time."""
        parts = [images[i : i + batch] for i in range(0, len(images), batch)]
        return torch.cat([self.encoder(self.inputs(part)) for part in parts])

    @torch.no_grad()
    def logits(self, images: Sequence[np.ndarray], boxes: np.ndarray, batch: int = 4) -> list[Tensor]:
        """Mask logits at the size of each image.

        Args:
            images: N uint8 arrays (H, W, 3); sizes may differ.
            boxes: (N, 4) XYXY in pixels of each image.
            batch: images that go through the encoder together.

        Returns:
            N tensors (H, W) on the CPU; a pixel belongs to the mask where its logit is positive.

        Raises:
            ValueError: an image or box that cannot be used; nothing was computed.
        """
        prompts = self.boxes([validate_image(image) for image in images], boxes)
        low = self.decode(self.embed(images, batch), prompts)
        return [self.preprocessing.restore(low[i : i + 1], *image.shape[:2])[0].cpu() for i, image in enumerate(images)]
