"""Where the notebooks of the profile that is being rendered left their files: `<build>/<profile>`."""

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


def run_folder(config: Config, root: Path | str) -> Path:
    """The folder that holds `executed/`, `results/` and `benchmarks/`.

    Args:
        config: the book's configuration; its `run_folder` is relative to the root.
        root: the repository root, which is Sphinx's source folder.
    """
    return Path(root) / config.run_folder


def setup(app: Sphinx) -> dict:
    """Register the setting; the runner says which build and which profile through the environment."""
    build, profile = os.environ.get("MEDLIB_BUILD", "build"), os.environ.get("MEDLIB_PROFILE", "laptop")
    app.add_config_value("run_folder", f"{build}/{profile}", "env", [str])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
