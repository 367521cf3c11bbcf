"""Notebook twins: written one way, the same every time, with an install cell that respects the runtime."""

import builtins
import importlib.util
import json
import subprocess
from importlib import metadata
from pathlib import Path

import nbformat
import pytest

from medlib.pairing import notebook_text, orphans, repository_address, stale_twins, write_twins

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://example.org/someone/book"
SOURCE = """\
# %% [markdown]
# # Title
# Text with $z$ and ü.

# %% tags=["parameters"]
seed = 0

# %%
print(seed)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two sources and their twins."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("title: t\nrepository:\n  url: ''\n")
    for name in ("01_one", "02_two"):
        (tmp_path / "notebooks" / f"{name}.py").write_text(SOURCE)
    assert write_twins(tmp_path) == ["01_one.ipynb", "02_two.ipynb"]
    return tmp_path


def cells(repository: str, tmp_path: Path) -> list[nbformat.NotebookNode]:
    source = tmp_path / "01_one.py"
    source.write_text(SOURCE, encoding="utf-8")
    return nbformat.reads(notebook_text(source, repository), as_version=4).cells


def test_the_cells_are_those_of_the_source_after_the_install_cell(tmp_path: Path):
    install, *own = cells("", tmp_path)
    assert install.cell_type == "code" and install.metadata.tags == ["remove-cell"]
    assert [cell.cell_type for cell in own] == ["markdown", "code", "code"]
    assert own[0].source == "# Title\nText with $z$ and ü." and own[1].metadata.tags == ["parameters"]
    assert [cell.source for cell in own[1:]] == ["seed = 0", "print(seed)"]


@pytest.mark.parametrize("source", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_the_books_twins_are_valid_reproducible_and_empty(source: Path):
    text = notebook_text(source, ADDRESS)
    assert text == notebook_text(source, ADDRESS)
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert notebook.metadata.kernelspec.name == "python3"


def run_install_cell(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool) -> list[list[str]]:
    """Execute an install cell as if medlib were present or not; returns the commands it started."""
    find, started = importlib.util.find_spec, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "medlib" and not present else find(n))
    monkeypatch.setattr(subprocess, "run", lambda command, **_: started.append([str(word) for word in command]))
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "install cell", "exec"), {"__builtins__": builtins})
    return started


def test_the_install_cell_keeps_the_runtimes_torch(tmp_path: Path, monkeypatch):
    source = cells(ADDRESS, tmp_path)[0].source
    (command,) = run_install_cell(source, tmp_path, monkeypatch, present=False)
    assert command[1:4] == ["-m", "pip", "install"] and f"medlib @ git+{ADDRESS}" in command
    constraints = (tmp_path / command[command.index("-c") + 1]).read_text().splitlines()
    assert f"torch=={metadata.version('torch')}" in constraints
    assert f"numpy=={metadata.version('numpy')}" in constraints


def test_the_install_cell_does_nothing_where_medlib_is(tmp_path: Path, monkeypatch):
    for repository in (ADDRESS, ""):
        source = cells(repository, tmp_path)[0].source
        assert run_install_cell(source, tmp_path, monkeypatch, present=True) == []


def test_without_an_address_the_install_cell_says_what_to_do(tmp_path: Path, monkeypatch):
    source = cells("", tmp_path)[0].source
    assert "git+" not in source
    with pytest.raises(ModuleNotFoundError, match=r"Clone the book's repository and run: pip install -e \."):
        run_install_cell(source, tmp_path, monkeypatch, present=False)


@pytest.mark.parametrize(
    ("settings", "address"),
    [(f"repository:\n  url: {ADDRESS}", ADDRESS), ("repository:\n  url: ''", ""), ("repository:", ""), ("a: b", "")],
)
def test_the_address_comes_from_the_books_settings(tmp_path: Path, settings: str, address: str):
    (tmp_path / "_config.yml").write_text(settings)
    assert repository_address(tmp_path) == address


def test_fresh_twins_are_not_stale(checkout: Path):
    assert stale_twins(checkout) == []
    assert write_twins(checkout) == []


def test_a_new_address_makes_every_twin_stale(checkout: Path):
    (checkout / "_config.yml").write_text(f"repository:\n  url: {ADDRESS}\n")
    assert stale_twins(checkout) == ["01_one.ipynb", "02_two.ipynb"]


def test_changed_source_executed_twin_missing_twin_and_orphan_are_stale(checkout: Path):
    folder = checkout / "notebooks"
    (folder / "01_one.py").write_text(SOURCE + "print(2)\n")
    (folder / "02_two.ipynb").unlink()
    (folder / "03_orphan.ipynb").write_text((folder / "01_one.ipynb").read_text())
    before = (folder / "03_orphan.ipynb").read_bytes()
    assert stale_twins(checkout) == ["01_one.ipynb", "02_two.ipynb"]
    assert orphans(checkout) == ["03_orphan.ipynb"]
    assert write_twins(checkout) == ["01_one.ipynb", "02_two.ipynb"]
    assert stale_twins(checkout) == []
    assert (folder / "03_orphan.ipynb").read_bytes() == before, "a notebook without a .py may be somebody's work"


def test_a_twin_with_outputs_is_stale(checkout: Path):
    twin = checkout / "notebooks" / "01_one.ipynb"
    notebook = json.loads(twin.read_text())
    notebook["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["0\n"]}]
    twin.write_text(json.dumps(notebook))
    assert stale_twins(checkout) == ["01_one.ipynb"]
