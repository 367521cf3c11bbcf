"""Show each notebook with the outputs of its last run, while its links keep pointing at the committed one."""

import json
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from .run_folder import run_folder

LOGGER = logging.getLogger(__name__)
PARAMETERS_TITLE = "Parameters of this run"
PROGRESS_BAR = re.compile(r"\d+%\|.*\[.*\]|\d+it \[.*\]")  # as tqdm prints it, with and without a known end


def show_executed(app: Sphinx, docname: str, source: list[str]) -> None:
    """Swap the source of a notebook's page for the executed notebook of the same name."""
    if not docname.startswith("notebooks/"):
        return
    path = run_folder(app.config, app.srcdir) / "executed" / f"{Path(docname).name}.ipynb"
    app.env.note_dependency(str(path))
    if path.is_file():
        source[0] = json.dumps(presentable(json.loads(path.read_text(encoding="utf-8"))))
    else:
        LOGGER.warning(
            "%s was not executed: %s is missing. Run `make book`.", docname, path, location=docname
        )


def presentable(notebook: dict) -> dict:
    """A copy for readers: no papermill records or progress bars, and the parameters of this run once, folded."""
    cells = [_presentable_cell(cell) for cell in notebook["cells"]]
    metadata = {
        key: value for key, value in notebook["metadata"].items() if key not in ("papermill", "widgets")
    }
    return notebook | {"cells": cells, "metadata": metadata}


def _presentable_cell(cell: dict) -> dict:
    metadata = {
        key: value for key, value in cell["metadata"].items() if key not in ("papermill", "execution")
    }
    tags = metadata.get("tags", [])
    if "injected-parameters" in tags:
        metadata["tags"] = [*tags, "hide-input"]
        metadata["mystnb"] = {"code_prompt_show": PARAMETERS_TITLE, "code_prompt_hide": PARAMETERS_TITLE}
    elif "parameters" in tags:
        metadata["tags"] = [*tags, "remove-cell"]
    if "outputs" not in cell:
        return cell | {"metadata": metadata}
    return cell | {"metadata": metadata, "outputs": [o for o in cell["outputs"] if not _only_progress(o)]}


def _only_progress(output: dict) -> bool:
    """Whether an output is nothing but progress bars; anything else on stderr stays on the page."""
    if output.get("name") != "stderr":
        return False
    lines = re.split(r"[\r\n]+", "".join(output["text"]))
    return all(PROGRESS_BAR.search(line) for line in lines if line.strip())


def setup(app: Sphinx) -> dict:
    """Register the extension."""
    app.setup_extension("_ext.run_folder")
    app.connect("source-read", show_executed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
