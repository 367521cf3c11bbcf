"""Where a cascade keeps its finished stages, so that a killed run goes on where it stopped."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from medlib.files import write_atomically
from medlib.store import content_digest


class CascadeFolder:
    """A folder that belongs to one configuration: `configuration.json`, and two files a finished stage.

    The tensors of a stage are written first and its record last, each by one rename; a stage without a record does not
    count.

    Args:
        folder: made if it is not there.
        configuration: everything the result depends on; plain values and digests.

    Raises:
        ValueError: the folder holds a cascade of another configuration, or its `configuration.json` is damaged.
    """

    def __init__(self, folder: Path, configuration: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.digest = content_digest(configuration)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "configuration.json"
        own = json.loads(json.dumps(configuration))
        if not path.exists():
            if strays := sorted(stray.name for stray in self.folder.glob("[0-9][0-9]-*.json")):
                raise ValueError(f"{self.folder} holds stages such as {strays[0]} but no configuration.json. {_REMEDY}")
            write_atomically(path, json.dumps(own, indent=1) + "\n")
            return
        found = _read_record(path)
        differing = [key for key in own | found if own.get(key) != found.get(key)]
        if differing:
            changes = "; ".join(f"{k} was {_short(found.get(k))} and is {_short(own.get(k))}" for k in differing)
            raise ValueError(f"{self.folder} belongs to a cascade of another configuration: {changes}. {_REMEDY}")

    def read(self, number: int, name: str) -> dict[str, Tensor] | None:
        """The tensors of a finished stage, or None when it is still to be done.

        Raises:
            ValueError: the files of the stage are damaged.
        """
        record, tensors = self._paths(number, name)
        if not record.exists():
            return None
        found = _read_record(record)
        if not tensors.exists() or found != self._record(name, tensors):
            raise ValueError(f"{tensors} is missing or damaged: it does not match {record.name}. {_REMEDY}")
        return load_file(tensors)

    def write(self, number: int, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep a finished stage."""
        record, path = self._paths(number, name)
        draft = path.with_name(f".{path.name}.draft")
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, draft)
        os.replace(draft, path)
        write_atomically(record, json.dumps(self._record(name, path), indent=1) + "\n")

    def _paths(self, number: int, name: str) -> tuple[Path, Path]:
        stem = f"{number:02d}-{re.sub(r'[^a-z]+', '-', name)}"
        return self.folder / f"{stem}.json", self.folder / f"{stem}.safetensors"

    def _record(self, name: str, tensors: Path) -> dict[str, str]:
        with tensors.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"stage": name, "configuration": self.digest, "sha256": sha256}


_REMEDY = "Give another folder, or remove this one to start again."


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). {_REMEDY}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(found).__name__}, not a record. {_REMEDY}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:24]}…"
