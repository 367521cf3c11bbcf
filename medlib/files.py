"""Reading validated YAML and writing files that are never half there."""

import json
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a typed record; unknown keys, missing keys and wrong types are errors.

    Args:
        path: the file.
        model: a pydantic model that forbids extra keys.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not YAML, or does not fit the model; the message lists every misfit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the name, or restore the file from the repository.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}. Correct the file.") from error
    try:
        return model.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        misfits = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'the whole file'}: {e['msg']}" for e in error.errors()
        )
        raise ValueError(f"{path} does not fit {model.__name__}: {misfits}. Correct these entries.") from error


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a killed run, sees the old file or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
