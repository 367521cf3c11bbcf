"""Compact encoders as files: the weights that are left, and a manifest of the groups they belong to."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from medlib.pruning.compact import check_whole_gates, compact, kept_groups
from medlib.pruning.groups import encoder_blocks
from medlib.pruning.masks import PruningMasks

FORMAT = 1
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"


class BlockRecord(BaseModel):
    """A block of the dense encoder and what is left of it.

    Attributes:
        name: the block's path in the encoder.
        heads: attention heads of the dense block.
        channels: MLP channels of the dense block.
        kept_heads: positions of the heads that stay, ascending.
        kept_channels: positions of the MLP channels that stay, ascending.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    heads: int
    channels: int
    kept_heads: list[int]
    kept_channels: list[int]


class Manifest(BaseModel):
    """What a folder with a compact encoder says of itself.

    Attributes:
        format: version of this layout.
        encoder: class of the encoder.
        parameters: of the compact encoder.
        sha256: of the weights file.
        tensors: name → shape, as in the state dict of the compact encoder.
        blocks: input to output.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int
    encoder: str
    parameters: int
    sha256: str
    tensors: dict[str, list[int]]
    blocks: list[BlockRecord]


def save_compact(folder: Path, encoder: nn.Module, masks: PruningMasks) -> None:
    """Write a compact encoder to `folder`, as `weights.safetensors` and `manifest.json`; both appear at once.

    Args:
        folder: a new or empty folder, or one that `save_compact` wrote before, which is replaced.
        encoder: the dense encoder, which is compacted here; or the result of `compact` with these masks, perhaps
            trained since. It is left as it was.
        masks: for the dense encoder; 0 for groups that are removed, 1 for those that stay.

    Raises:
        ValueError: masks that fit neither, or that `compact` refuses.
        FileExistsError: the folder holds something else; nothing was written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {WEIGHTS, MANIFEST}):
        raise FileExistsError(f"{folder} holds something other than a compact encoder. Give a new folder.")
    smaller = _compacted(encoder, masks)
    weights = save({name: value.detach().cpu().contiguous() for name, value in smaller.state_dict().items()})
    manifest = Manifest(
        format=FORMAT,
        encoder=type(encoder).__name__,
        parameters=_parameter_count(smaller),
        sha256=hashlib.sha256(weights).hexdigest(),
        tensors=_shapes(smaller.state_dict()),
        blocks=[
            _record(block.name, heads, channels)
            for block, heads, channels in zip(encoder_blocks(encoder), masks.heads, masks.channels, strict=True)
        ],
    )
    _write(folder, {WEIGHTS: weights, MANIFEST: f"{manifest.model_dump_json()}\n".encode()})


def _record(name: str, heads: Tensor, channels: Tensor) -> BlockRecord:
    return BlockRecord(
        name=name,
        heads=len(heads),
        channels=len(channels),
        kept_heads=kept_groups(heads).tolist(),
        kept_channels=kept_groups(channels).tolist(),
    )


def _compacted(encoder: nn.Module, masks: PruningMasks) -> nn.Module:
    """The encoder itself when it has what the masks leave, else its compact copy."""
    blocks = encoder_blocks(encoder)
    left = [(len(kept_groups(h)), len(kept_groups(c))) for h, c in zip(masks.heads, masks.channels)]
    if left != [(block.heads, block.channels) for block in blocks]:
        return compact(encoder, masks)
    check_whole_gates(blocks, masks)
    return encoder


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a new folder that takes the place of `folder` once it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        draft.chmod(0o755)
        for name, content in contents.items():
            (draft / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def load_compact(folder: Path, encoder: nn.Module) -> nn.Module:
    """Read a compact encoder that `save_compact` wrote.

    Args:
        folder: the folder.
        encoder: a dense encoder of the same architecture as the one it was made from. It lends its shape, device and
            mode, is left as it was, and none of its weights are used.

    Raises:
        FileNotFoundError: the folder or one of its files does not exist.
        ValueError: a file is damaged, or does not fit the encoder; the message says which and how.
    """
    folder = Path(folder)
    for path in (folder / MANIFEST, folder / WEIGHTS):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist. Give a folder that save_compact wrote, or copy it again.")
    manifest = _read_manifest(folder / MANIFEST)
    tensors = _read_weights(folder / WEIGHTS, manifest)
    smaller = compact(encoder, _recorded_masks(folder / MANIFEST, manifest, encoder))
    _check_weights(folder / WEIGHTS, tensors, smaller.state_dict())
    if _parameter_count(smaller) != manifest.parameters:
        raise ValueError(
            f"{folder / MANIFEST} counts {manifest.parameters} parameters, but its blocks leave "
            f"{_parameter_count(smaller)}. It was edited: copy the folder again."
        )
    smaller.load_state_dict(tensors)
    return smaller.train(smaller.training)  # TinyViT caches its attention biases when it enters evaluation mode


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        misfits = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()[:3])
        raise ValueError(f"{path} is not the manifest of a compact encoder ({misfits}). Copy it again.") from error
    if manifest.format != FORMAT:
        raise ValueError(
            f"{path} has format {manifest.format}, and this medlib reads format {FORMAT}. Install the medlib that "
            "wrote it, or save the encoder again."
        )
    return manifest


def _read_weights(path: Path, manifest: Manifest) -> dict[str, Tensor]:
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ValueError(
            f"{path} ({len(content)} bytes) has digest {found[:12]}…, but its manifest says {manifest.sha256[:12]}…: "
            "it is truncated or was changed. Copy the folder again."
        )
    tensors = load(content)
    if _shapes(tensors) != manifest.tensors:
        raise ValueError(f"the manifest beside {path} lists other tensors or shapes. Copy the folder again.")
    return tensors


def _recorded_masks(path: Path, manifest: Manifest, encoder: nn.Module) -> PruningMasks:
    """The masks that a manifest records, checked against the encoder that they are for."""
    blocks = encoder_blocks(encoder)
    if manifest.encoder != type(encoder).__name__:
        raise ValueError(
            f"{path} is of class {manifest.encoder}, and the encoder is a {type(encoder).__name__}. Build the "
            "architecture that was saved."
        )
    if len(manifest.blocks) != len(blocks):
        raise ValueError(
            f"{path} has {len(manifest.blocks)} blocks, and the encoder has {len(blocks)}. Build it with that depth."
        )
    for record, block in zip(manifest.blocks, blocks, strict=True):
        if (record.name, record.heads, record.channels) != (block.name, block.heads, block.channels):
            raise ValueError(
                f"{path} was made from {record.name} with {record.heads} heads and {record.channels} channels, but the "
                f"encoder's {block.name} has {block.heads} and {block.channels}. Pass the dense encoder it was made "
                "from."
            )
    return PruningMasks(
        tuple(_mask(path, r.name, "head", r.kept_heads, r.heads) for r in manifest.blocks),
        tuple(_mask(path, r.name, "channel", r.kept_channels, r.channels) for r in manifest.blocks),
    )


def _mask(path: Path, block: str, kind: str, kept: list[int], size: int) -> Tensor:
    if kept != sorted(set(kept)) or not kept or not 0 <= kept[0] <= kept[-1] < size:
        raise ValueError(
            f"{path} keeps the {kind}s {str(kept)[:60]} of {block}, which are not ascending, different positions from "
            f"0 to {size - 1}, at least one. It was edited: copy the folder again."
        )
    mask = torch.zeros(size)
    mask[kept] = 1
    return mask


def _check_weights(path: Path, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    missing = [name for name in own if name not in found]
    surplus = [name for name in found if name not in own]
    misfits = [
        f"{name} {found[name].dtype} {tuple(found[name].shape)} for {value.dtype} {tuple(value.shape)}"
        for name, value in own.items()
        if name in found and (found[name].shape, found[name].dtype) != (value.shape, value.dtype)
    ]
    if missing or surplus or misfits:
        raise ValueError(
            f"{path} does not fit this encoder: {len(missing)} names missing {missing[:2]}, {len(surplus)} unknown "
            f"{surplus[:2]}, {len(misfits)} of another shape or type {misfits[:2]}. Build the architecture that was "
            "saved."
        )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in tensors.items()}


def _parameter_count(encoder: nn.Module) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())
