"""Running a notebook with papermill, its parameters checked first."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError

from medlib.parameters import check_parameters
from medlib.paths import repository_root

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31)}
"""Keeps glibc from returning the memory of every layer to the system, which costs a quarter of the time on a CPU."""


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised; the message is short and says where the partial notebook lies."""


def find_notebook(name: str) -> Path:
    """The .ipynb of a notebook given by name ("01_dice_and_boundaries") or by path.

    Raises:
        FileNotFoundError: no such notebook; the message lists those that exist.
    """
    root = repository_root() or Path()
    for candidate in (Path(name), root / "notebooks" / f"{name}.ipynb"):
        if candidate.suffix == ".ipynb" and candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))) or "none here"
    raise FileNotFoundError(f"there is no notebook {name!r}. Give one of these names, or a path: {known}.")


def run_notebook(notebook: str, parameters: Mapping[str, Any], output: Path, results: Path) -> None:
    """Execute a notebook; the output file holds every finished cell also when one fails.

    Args:
        notebook: a name or a path, see `find_notebook`.
        parameters: papermill parameters by name.
        output: the executed notebook to write.
        results: the results file that the notebook's ledger writes.

    Raises:
        ValueError, TypeError, FileNotFoundError: a parameter cannot be used; nothing was run.
        NotebookFailed: a cell raised.
    """
    source = find_notebook(notebook)
    declared = list(papermill.inspect_notebook(str(source)))
    check_parameters(parameters, declared)
    output.parent.mkdir(parents=True, exist_ok=True)
    with _environment(MEDLIB_RESULTS=str(results.resolve()), **KEEP_MEMORY):
        try:
            papermill.execute_notebook(
                str(source),
                str(output),
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
            )
        except papermill.PapermillExecutionError as error:
            raise NotebookFailed(
                f"{source.stem} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"The cells up to the error are in {output}."
            ) from error
        except DeadKernelError as error:
            raise NotebookFailed(
                f"{source.stem}: its Python process died, most often for want of memory. Use a smaller "
                f"profile, or close other programs.\nThe cells that finished are in {output}."
            ) from error


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
