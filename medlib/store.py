"""The artefact store: what took long to make is kept under a digest of everything it was made from.

An entry is a folder `<name>-<digest>` with `tensors.safetensors` and `manifest.json`. It appears by one rename, so it
is whole or absent; a lock file lets one process build while others wait; an entry whose bytes do not match its manifest
is made again.
"""

import hashlib
import inspect
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock
import numpy as np
import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file

from medlib.paths import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artefact:
    """A stored result.

    Attributes:
        tensors: name → tensor, on the CPU.
        digest: of the inputs and the code that made it.
        folder: where it lies.
        built: whether this call made it (False: it was found).
    """

    tensors: dict[str, torch.Tensor]
    digest: str
    folder: Path
    built: bool


def content_digest(value: Any) -> str:
    """SHA-256 of a value's content: numbers, text, arrays, tensors, records, and lists or mappings of them.

    >>> content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
    True

    Raises:
        TypeError: the value holds something without a defined content, such as a function or an open file.
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        head = f"{value.dtype} {tuple(value.shape)}".encode()
        return head + hashlib.sha256(flat.numpy().tobytes()).digest()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        head = f"array {value.dtype.str} {value.shape}".encode()
        return head + hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
    if isinstance(value, BaseModel):
        return _canonical(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return _canonical({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        items = sorted((key, _canonical(item)) for key, item in value.items())
        return b"{" + b",".join(_framed(key.encode()) + _framed(item) for key, item in items) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(_framed(_canonical(item)) for item in value) + b"]"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}".encode()
    raise TypeError(
        f"{type(value).__name__} has no defined content to hash. Pass numbers, text, arrays, tensors, records, or "
        "lists of these and mappings from text to these."
    )


def _framed(part: bytes) -> bytes:
    return f"{len(part)}:".encode() + part


class ArtefactStore:
    """Artefacts by content.

    Args:
        root: the folder; `medlib.paths.cache_folder()` when None.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root is not None else cache_folder()

    def fetch(
        self,
        name: str,
        inputs: Mapping[str, Any],
        build: Callable[[], Mapping[str, torch.Tensor]],
        code: Sequence[ModuleType],
    ) -> Artefact:
        """Return the artefact made from `inputs` by `code`, building it if it is not there or is damaged.

        Args:
            name: a short name for people; not part of what is looked up beyond the folder's prefix.
            inputs: everything the result depends on.
            build: makes the tensors; called at most once, by one process at a time.
            code: the modules whose source decides the result; a change of any makes a new artefact.

        Raises:
            TypeError: an input has no defined content.
            OSError: the store cannot be written; nothing half-made is left behind.
        """
        sources = {module.__name__: inspect.getsource(module) for module in code}
        digest = content_digest({"inputs": inputs, "sources": sources})
        folder = self.root / f"{name}-{digest[:16]}"
        self.root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.root / f".{folder.name}.lock")
        with _held(lock, name):
            tensors = _read(folder, digest)
            if tensors is not None:
                return Artefact(tensors, digest, folder, built=False)
            tensors = {key: value.detach().cpu().clone().contiguous() for key, value in build().items()}
            self._write(folder, name, digest, tensors)
            return Artefact(tensors, digest, folder, built=True)

    def _write(self, folder: Path, name: str, digest: str, tensors: Mapping[str, torch.Tensor]) -> None:
        for left_by_a_killed_run in self.root.glob(f".{folder.name}.draft*"):
            shutil.rmtree(left_by_a_killed_run, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(dir=self.root, prefix=f".{folder.name}.draft"))
        try:
            save_file(dict(tensors), draft / "tensors.safetensors")
            manifest = {
                "name": name,
                "digest": digest,
                "sha256": _file_digest(draft / "tensors.safetensors"),
                "tensors": {key: list(value.shape) for key, value in tensors.items()},
            }
            (draft / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


@contextmanager
def _held(lock: filelock.FileLock, name: str) -> Iterator[None]:
    """Hold a lock, saying so when another process has it."""
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log.warning("another process is making %s; waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read(folder: Path, digest: str) -> dict[str, torch.Tensor] | None:
    """The tensors of a whole entry, or None when it is absent or damaged."""
    if not folder.is_dir():
        return None
    payload = folder / "tensors.safetensors"
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["digest"] == digest and manifest["sha256"] == _file_digest(payload):
            return load_file(payload)
        reason = "its bytes do not match its manifest"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    log.warning("artefact %s is damaged (%s); making it again", folder.name, reason)
    return None


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
