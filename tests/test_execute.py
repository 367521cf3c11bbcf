"""Running notebooks: parameters first, a short message when a cell fails, and nothing left changed."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from medlib.execute import NotebookFailed, find_notebook, run_notebook

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebook(folder: Path, *cells: str) -> str:
    """A notebook with a parameters cell and these cells; returns its path."""
    first = new_code_cell("seed = 0\npolyps = ''", metadata={"tags": ["parameters"]})
    page = new_notebook(cells=[first, *(new_code_cell(cell) for cell in cells)], metadata=KERNEL)
    nbformat.write(page, folder / "90_page.ipynb")
    return str(folder / "90_page.ipynb")


def printed(path: Path) -> list[str]:
    """What the cells of an executed notebook printed."""
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return [output.text for output in outputs if output.output_type == "stream"]


def test_parameters_arrive_and_the_results_file_is_known(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MEDLIB_RESULTS", "set by the caller")
    code = "import os, json\njson.dump([seed], open(os.environ['MEDLIB_RESULTS'], 'w'))\nprint('seed', seed)"
    run_notebook(notebook(tmp_path, code), {"seed": 7}, tmp_path / "new" / "out.ipynb", tmp_path / "r.json")
    assert printed(tmp_path / "new" / "out.ipynb") == ["seed 7\n"]
    assert json.loads((tmp_path / "r.json").read_text()) == [7]
    assert os.environ["MEDLIB_RESULTS"] == "set by the caller"


def test_a_broken_notebook_fails_shortly_and_keeps_what_ran(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("MEDLIB_RESULTS", raising=False)
    output = tmp_path / "out.ipynb"
    source = notebook(tmp_path, "print('before')", "raise KeyError('no such lesion')", "print('after')")
    with pytest.raises(NotebookFailed, match=r"90_page failed in cell \d+: KeyError: 'no such lesion'") as error:
        run_notebook(source, {}, output, tmp_path / "r.json")
    assert str(output) in str(error.value)
    assert "Traceback" not in str(error.value) and len(str(error.value).splitlines()) == 2
    assert printed(output) == ["before\n"]
    assert "MEDLIB_RESULTS" not in os.environ


def test_a_process_that_is_killed_is_told_apart_and_keeps_what_ran(tmp_path: Path):
    source = notebook(
        tmp_path, "print('before', flush=True)", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(NotebookFailed, match=r"90_page: its Python process died, most often for want of memory"):
        run_notebook(source, {}, tmp_path / "out.ipynb", tmp_path / "r.json")
    assert printed(tmp_path / "out.ipynb") == ["before\n"]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"sede": 1}, ValueError, "unknown parameter 'sede'. This notebook takes: seed, polyps"),
        ({"checkpoint": ""}, ValueError, "unknown parameter 'checkpoint'"),
        ({"seed": "1"}, TypeError, "must be int"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"polyps": "nowhere"}, FileNotFoundError, "nowhere does not exist"),
    ],
)
def test_bad_parameters_stop_it_before_anything_is_written(tmp_path: Path, parameters: dict, error: type, message: str):
    source = notebook(tmp_path, "print('ran')")
    with pytest.raises(error, match=message):
        run_notebook(source, parameters, tmp_path / "new" / "out.ipynb", tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir()] == ["90_page.ipynb"]


def test_a_notebook_is_found_by_name_and_by_path(tmp_path: Path):
    path = notebook(tmp_path)
    assert find_notebook(path) == Path(path)
    for twin in (ROOT / "notebooks").glob("*.ipynb"):
        assert find_notebook(twin.stem) == twin


@pytest.mark.parametrize("name", ["99_nothing", "notebooks", "01_dice_and_boundaries.py", ""])
def test_an_unknown_notebook_lists_those_that_exist(name: str):
    with pytest.raises(FileNotFoundError, match=f"there is no notebook '{name}'.*01_dice_and_boundaries"):
        find_notebook(name)
