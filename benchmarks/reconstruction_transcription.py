"""A plain transcription of compensated pruning with the same shares everywhere, place after place.

It shares no code with medlib. The benchmark times it and compares the embeddings.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def plain_reconstruction(
    encoder: nn.Module, calibration: Tensor, head_share: float, channel_share: float, ridge: float = 1e-3
) -> tuple[nn.Module, int]:
    """Prune a TinyViT front to back: score, remove and re-solve each map before the next is looked at.

    Groups are scored once by optimal brain surgeon, tr(W_g ((H⁻¹)_gg)⁻¹ W_gᵀ), and the lowest share of them goes. The
    projection is solved for its own dense output, the second MLP map for what brings the stream back to the dense one.

    Returns:
        The pruned encoder, in its full shape, and how many parameters the removed groups own.
    """
    pruned, removed = copy.deepcopy(encoder).eval(), 0
    dense_streams = [encoder.layers[0](encoder.patch_embed(picture[None])) for picture in calibration]
    streams = list(dense_streams)
    for dense_layer, layer in zip(encoder.layers[1:], pruned.layers[1:], strict=True):
        for dense, block in zip(dense_layer.blocks, layer.blocks, strict=True):
            width, heads = block.attn.proj.in_features, block.attn.num_heads
            size, channels = width // heads, block.mlp.fc2.in_features
            _, dense_heads = seen_by(dense, dense.attn.proj, dense_streams)
            inputs, _ = seen_by(block, block.attn.proj, streams)
            quota = round(head_share * heads)
            groups = [torch.arange(head * size, (head + 1) * size) for head in range(heads)]
            remove_and_solve(block.attn.proj, inputs, dense_heads, groups, quota, ridge)
            removed += quota * (4 * size * width + 3 * size + block.attn.attention_biases.shape[1])

            after = [dense(stream) for stream in dense_streams]
            inputs, outputs = seen_by(block, block.mlp.fc2, streams)
            drift = torch.cat([(a - block(b)).flatten(0, 1) for a, b in zip(after, streams, strict=True)])
            quota = round(channel_share * channels)
            groups = [torch.tensor([channel]) for channel in range(channels)]
            remove_and_solve(block.mlp.fc2, inputs, outputs + drift, groups, quota, ridge)
            removed += quota * (2 * width + 1)
            dense_streams, streams = after, [block(stream) for stream in streams]
        if layer.downsample is not None:
            dense_streams = [dense_layer.downsample(stream) for stream in dense_streams]
            streams = [layer.downsample(stream) for stream in streams]
    return pruned, removed


def seen_by(block: Callable[[Tensor], Tensor], linear: nn.Linear, streams: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All tokens that a linear map reads and writes while a block runs."""
    inputs, outputs = [], []

    def note(module: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
        inputs.append(given[0].flatten(0, -2))
        outputs.append(output.flatten(0, -2))

    hook = linear.register_forward_hook(note)
    for stream in streams:
        block(stream)
    hook.remove()
    return torch.cat(inputs), torch.cat(outputs)


def remove_and_solve(
    linear: nn.Linear, inputs: Tensor, targets: Tensor, groups: Sequence[Tensor], quota: int, ridge: float
) -> None:
    """Take the lowest-scored groups out of a map and fit what is left to the targets, in place."""
    mean, target_mean = inputs.mean(0), targets.mean(0)
    centred = inputs - mean
    moments = centred.T @ centred / len(inputs)
    moments += ridge * moments.diagonal().mean() * torch.eye(len(moments))
    inverse, weight = torch.linalg.inv(moments), linear.weight
    scores = [(weight[:, g] @ torch.linalg.inv(inverse[g][:, g]) * weight[:, g]).sum() for g in groups]
    lowest = set(torch.argsort(torch.stack(scores))[:quota].tolist())
    kept = torch.cat([group for number, group in enumerate(groups) if number not in lowest])
    cross = centred[:, kept].T @ (targets - target_mean) / len(inputs)
    solved = torch.zeros_like(weight)
    solved[:, kept] = torch.linalg.solve(moments[kept][:, kept], cross).T
    linear.weight.copy_(solved)
    linear.bias.copy_(target_mean - solved @ mean)
