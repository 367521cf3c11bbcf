"""An encoder taken apart: the stem, the two halves of every block, what stands between blocks, and the neck.

The residual stream is handed on as (N, H, W, C), whatever layout the encoder keeps inside.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import Tensor, nn

from medlib.pruning.groups import Block, encoder_blocks


class BlockStages:
    """One transformer block in two halves, each a linear map that writes to the residual stream.

    A block computes x + proj(heads(x)), then (TinyViT only) a depthwise convolution, then x + contraction(channels(x)).

    Args:
        encoder: see `encoder_blocks`.
        block: one of its blocks.
    """

    def __init__(self, encoder: nn.Module, block: Block) -> None:
        self._module = encoder.get_submodule(block.name)
        self._sam = isinstance(encoder, ImageEncoderViT)
        self.projection: nn.Linear = encoder.get_submodule(block.projection)
        self.contraction: nn.Linear = encoder.get_submodule(block.contraction)

    def heads(self, stream: Tensor) -> Tensor:
        """The concatenated heads (N, H, W, heads · head_dim): what the output projection reads."""
        module = self._module
        height, width = stream.shape[1:3]
        tokens = module.norm1(stream) if self._sam else stream  # TinyViT's attention normalises by itself
        side = module.window_size  # 0 in SAM's global blocks
        windows, padded = window_partition(tokens, side) if side else (tokens, (height, width))
        with _reading(self.projection):
            heads = module.attn(windows if self._sam else windows.flatten(1, 2))
        heads = heads.reshape(*windows.shape[:3], -1)
        return window_unpartition(heads, side, padded, (height, width)) if side else heads

    def between(self, stream: Tensor) -> Tensor:
        """The stream after what stands between the halves: a depthwise convolution in TinyViT, nothing in SAM."""
        if self._sam:
            return stream
        return self._module.local_conv(stream.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def channels(self, stream: Tensor) -> Tensor:
        """The hidden MLP channels (N, H, W, channels) after the activation: what the second MLP map reads."""
        module = self._module
        if self._sam:
            return module.mlp.act(module.mlp.lin1(module.norm2(stream)))
        return module.mlp.act(module.mlp.fc1(module.mlp.norm(stream)))


class EncoderStages:
    """An encoder of the SAM family as stem, blocks, bridges and neck.

    Running them in turn gives what the encoder gives in evaluation mode:

        stream = stem(inputs);  for b, block: stream = bridge(b, halves of the block);  neck(stream)

    Args:
        encoder: see `encoder_blocks`.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.layout = encoder_blocks(encoder)
        self.blocks = [BlockStages(encoder, block) for block in self.layout]
        self._sam = isinstance(encoder, ImageEncoderViT)

    def stem(self, inputs: Tensor) -> Tensor:
        """The residual stream (N, H, W, C) before the first transformer block, for encoder inputs (N, 3, S, S)."""
        if self._sam:
            stream = self.encoder.patch_embed(inputs)
            return stream if self.encoder.pos_embed is None else stream + self.encoder.pos_embed
        stream = self.encoder.layers[0](self.encoder.patch_embed(inputs))
        return self._square(stream)

    def bridge(self, number: int, stream: Tensor) -> Tensor:
        """What the encoder does between block `number` and the next: a downsampling in TinyViT, mostly nothing."""
        if self._sam:
            return stream
        _, layer, _, place = self.layout[number].name.split(".")
        stage = self.encoder.layers[int(layer)]
        if int(place) + 1 < len(stage.blocks) or stage.downsample is None:
            return stream
        return self._square(stage.downsample(stream.permute(0, 3, 1, 2)))

    def neck(self, stream: Tensor) -> Tensor:
        """The image embedding (N, C', H, W) for the stream after the last block."""
        return self.encoder.neck(stream.permute(0, 3, 1, 2))

    def embedding(self, stream: Tensor) -> Tensor:
        """The image embedding (N, C', H, W) for the stream after the stem."""
        for number in range(len(self.blocks)):
            stream = self.after(number, stream)
        return self.neck(stream)

    def after(self, number: int, stream: Tensor, heads: Tensor | None = None) -> Tensor:
        """The stream before the block that follows block `number`, for the stream before it.

        Args:
            number: position of the block.
            stream: (N, H, W, C).
            heads: what its output projection reads, where that is known already or was changed.
        """
        halves = self.blocks[number]
        heads = halves.heads(stream) if heads is None else heads
        stream = halves.between(stream + halves.projection(heads))
        return self.bridge(number, stream + halves.contraction(halves.channels(stream)))

    @staticmethod
    def _square(tokens: Tensor) -> Tensor:
        """(N, H · W, C) tokens of a square picture as (N, H, W, C)."""
        side = round(tokens.shape[1] ** 0.5)
        return tokens.unflatten(1, (side, side))


@contextmanager
def _reading(linear: nn.Linear) -> Iterator[None]:
    """Let a linear map hand on what it reads, as long as the with-block lasts."""
    hook = linear.register_forward_hook(lambda module, inputs, output: inputs[0])
    try:
        yield
    finally:
        hook.remove()
