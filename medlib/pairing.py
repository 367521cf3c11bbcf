"""Notebook twins: NN_slug.py (percent format) is edited, NN_slug.ipynb is written from it, without outputs.

One direction only. The .ipynb starts with a cell that installs medlib where it is missing (Colab); that cell is made
here, from the repository address in `_config.yml`, so no notebook can have a stale one.
"""

import hashlib
from pathlib import Path

import jupytext
import nbformat
import yaml

from medlib.files import write_atomically

INSTALL = """\
# Where medlib is missing (Colab): install it, and keep the runtime's own torch and what is already loaded.
import importlib.util

if importlib.util.find_spec("medlib") is None:
    import subprocess, sys
    from importlib import metadata
    have = {d.metadata["Name"].lower() for d in metadata.distributions()}
    keep = have & {"torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "pillow", "ipython", "ipykernel"}
    with open("keep.txt", "w") as constraints:
        constraints.writelines(f"{n}=={metadata.version(n)}\\n" for n in sorted(keep))
    subprocess.run([sys.executable, "-m", "pip", "install", "--progress-bar=off", "-c", "keep.txt",
                    "medlib @ git+REPOSITORY"], check=True)
"""

INSTALL_BY_HAND = """\
# Where medlib is missing: this copy of the book names no repository to install from.
import importlib.util

if importlib.util.find_spec("medlib") is None:
    raise ModuleNotFoundError("medlib is not installed. Clone the book's repository and run: pip install -e .")
"""


def repository_address(root: Path) -> str:
    """The `repository: url:` of `_config.yml`; "" when unset."""
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return (settings.get("repository") or {}).get("url") or ""


def notebook_text(source: Path, repository: str) -> str:
    """The .ipynb text that belongs to a percent-format .py, the same on every call.

    Args:
        source: the .py file.
        repository: the address that the install cell uses; "" for an install cell that says what to do by hand.
    """
    notebook = jupytext.read(source)
    install = INSTALL.replace("REPOSITORY", repository) if repository else INSTALL_BY_HAND
    notebook.cells.insert(0, nbformat.v4.new_code_cell(install.rstrip(), metadata={"tags": ["remove-cell"]}))
    for position, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{source.stem} {position}".encode()).hexdigest()[:8]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.writes(notebook, version=4) + "\n"


def stale_twins(root: Path) -> list[str]:
    """Names of the .ipynb files that are missing or out of date."""
    repository = repository_address(root)
    return [
        twin.name
        for source in sorted((root / "notebooks").glob("*.py"))
        for twin in [source.with_suffix(".ipynb")]
        if not twin.is_file() or twin.read_text(encoding="utf-8") != notebook_text(source, repository)
    ]


def orphans(root: Path) -> list[str]:
    """Names of the .ipynb files that no .py stands behind; they are never written or deleted here."""
    notebooks = root / "notebooks"
    return sorted(path.name for path in notebooks.glob("*.ipynb") if not path.with_suffix(".py").is_file())


def write_twins(root: Path) -> list[str]:
    """Write every .ipynb that is missing or out of date; returns their names."""
    repository = repository_address(root)
    stale = stale_twins(root)
    for name in stale:
        twin = root / "notebooks" / name
        write_atomically(twin, notebook_text(twin.with_suffix(".py"), repository))
    return stale
