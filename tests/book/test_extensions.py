"""The book's own Sphinx extensions, on books of two pages."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from _ext.claims import measured_text, quoted
from _ext.docstrings import keep_bars
from _ext.executed import presentable
from _ext.repository import switch_buttons
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from medlib.ledger import Claim, Condition, Measurement

CLAIMS = {
    "a.ratio": Claim(
        title="t",
        origin="paper",
        source="s",
        paper=2.887,
        unit="px",
        part="I",
        notebook="01_first",
        how="h",
        reproduced=Condition(relative=0.1),
    ),
    "a.share": Claim(
        title="t",
        origin="ours",
        source="s",
        unit="%",
        part="I",
        notebook="01_first",
        how="h",
        reproduced=Condition(above=1.0),
    ),
    "a.later": Claim(
        title="t",
        origin="ours",
        source="s",
        part="I",
        notebook="09_later",
        how="h",
        reproduced=Condition(above=1.0),
    ),
}
MEASURED = {"a.ratio": Measurement(-2.5, (-2.71, -2.3), 24), "a.share": Measurement(94.24)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.ratio", "−2.50\N{NO-BREAK SPACE}px"),
        ("a.ratio:.3f", "−2.500\N{NO-BREAK SPACE}px"),
        ("a.ratio.paper", "2.887\N{NO-BREAK SPACE}px"),
        ("a.ratio.paper:.1f", "2.9\N{NO-BREAK SPACE}px"),
        ("a.ratio.interval:.2f", "[−2.71, −2.30]"),
        ("a.ratio.n", "24"),
        ("a.share", "94.2%"),
        ("a.share:.0f", "94%"),
    ],
)
def test_a_number_is_quoted_from_the_ledger(text: str, shown: str) -> None:
    assert quoted(text, CLAIMS, MEASURED) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.unknown", "no claim 'a.unknown'"),
        ("a.ratio.colour", "no claim 'a.ratio.colour'"),
        ("a.share.paper", "no published value"),
        ("a.share.interval", "recorded without interval"),
        ("a.later", "was not measured by 09_later"),
    ],
)
def test_what_cannot_be_quoted_says_why(text: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        quoted(text, CLAIMS, MEASURED)


@pytest.mark.parametrize(
    ("value", "shown"), [(2.0, "2.00"), (0.93, "0.930"), (100.0, "100"), (93735472.0, "93,735,472"), (0.0, "0.00")]
)
def test_a_measured_number_shows_its_precision(value: float, shown: str) -> None:
    assert measured_text(value) == shown


def test_a_format_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="format"):
        quoted("a.ratio:nonsense", CLAIMS, MEASURED)


def test_the_shown_notebook_has_one_set_of_parameters_and_no_records() -> None:
    notebook = {
        "metadata": {"papermill": {}, "widgets": {}, "kernelspec": {"name": "python3"}},
        "cells": [
            {"metadata": {"tags": ["parameters"], "papermill": {"duration": 1}}},
            {"metadata": {"tags": ["injected-parameters"], "execution": {}}},
            {"metadata": {}},
        ],
    }
    before = copy.deepcopy(notebook)
    shown = presentable(notebook)
    assert notebook == before
    assert shown["metadata"] == {"kernelspec": {"name": "python3"}}
    assert [cell["metadata"].get("tags", [])[-1:] for cell in shown["cells"]] == [
        ["remove-cell"],
        ["hide-input"],
        [],
    ]
    assert not any(
        "papermill" in cell["metadata"] or "execution" in cell["metadata"] for cell in shown["cells"]
    )


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("\r  0%|          | 0/3 [00:00<?, ?it/s]\r100%|██████████| 3/3 [00:00<00:00, 40.1it/s]\n", False),
        ("maps:  33%|███       | 1/3 [00:00<00:01,  1.9it/s]", False),
        ("\r7it [00:00, 12.3it/s]", False),
        ("UserWarning: look at this\n", True),
        ("\r100%|██████████| 3/3 [00:00<00:00, 40.1it/s]\nUserWarning: look at this\n", True),
    ],
)
def test_progress_bars_are_left_out_and_warnings_are_not(printed: str, kept: bool) -> None:
    outputs = [{"output_type": "stream", "name": "stderr", "text": printed.splitlines(keepends=True)}]
    notebook = {"metadata": {}, "cells": [{"metadata": {}, "outputs": outputs}]}
    assert bool(presentable(notebook)["cells"][0]["outputs"]) == kept


def test_bars_in_docstrings_are_bars() -> None:
    lines = ["The size |z| of ``|a|`` and `|b|`, and ``|c", "d|`` over |e|."]
    keep_bars(None, "function", "f", None, None, lines)
    assert lines == [r"The size \|z\| of ``|a|`` and `|b|`, and ``|c", r"d|`` over \|e\|."]


# --- small books -----------------------------------------------------------------------------------------------


class Book:
    """A book of one notebook and one page that quotes it, built with some of the extensions."""

    def __init__(self, root: Path, extensions: tuple[str, ...], **settings: object) -> None:
        self.root, self.extensions, self.settings = root, extensions, settings
        for folder in ("notebooks", "book", "build/laptop/executed", "build/laptop/results"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.write("book/index.md", "# Start\n\n```{toctree}\nquotes\n../notebooks/01_first\n```\n")
        self.write("book/quotes.md", "# Quotes\n\nIt is {claim}`a.ratio:.2f`.\n")
        self.write(
            "book/claims.yml", json.dumps({k: c.model_dump(exclude_none=True) for k, c in CLAIMS.items()})
        )
        self.write("notebooks/01_first.ipynb", notebook("committed"))
        self.show("first run")
        self.measure(2.5)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def show(self, printed: str) -> None:
        self.write("build/laptop/executed/01_first.ipynb", notebook("committed", printed))

    def measure(self, value: float) -> None:
        entry = {"value": value, "interval": None, "n": None, "note": ""}
        page = {"notebook": "01_first", "profile": "laptop", "seed": 0, "measurements": {"a.ratio": entry}}
        self.write("build/laptop/results/01_first.json", json.dumps(page))

    def build(self) -> SimpleNamespace:
        """Build what changed: the documents that were read again, and the warnings."""
        read: list[str] = []
        warnings = self.root / "warnings.txt"
        overrides = {
            "extensions": ["myst_nb", *self.extensions],
            "root_doc": "book/index",
            "nb_execution_mode": "off",
            "include_patterns": ["book/**", "notebooks/*"],
            "run_folder": "build/laptop",
            "html_theme": "basic",
            **self.settings,
        }
        if "_ext.executed" not in self.extensions:
            del overrides["run_folder"]
        with warnings.open("w") as stream, patch_docutils(), docutils_namespace():
            app = Sphinx(
                self.root,
                None,
                self.root / "html",
                self.root / "html/.doctrees",
                "html",
                overrides,
                None,
                stream,
            )
            app.connect("env-before-read-docs", lambda app, env, names: read.extend(names))
            app.build()
        return SimpleNamespace(read=sorted(read), warnings=warnings.read_text())

    def page(self, name: str) -> str:
        return (self.root / "html" / f"{name}.html").read_text(encoding="utf-8")


def notebook(source: str, printed: str = "") -> str:
    cell = nbformat.v4.new_code_cell(f"# {source}", id="aaaaaaaa")
    if printed:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)]
    title = nbformat.v4.new_markdown_cell("# First", id="bbbbbbbb")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=[title, cell], metadata=kernel))


@pytest.fixture
def book(tmp_path: Path) -> Callable[..., Book]:
    return lambda *extensions, **settings: Book(tmp_path, extensions, **settings)


def test_each_change_rebuilds_exactly_the_pages_it_touches(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.claims")
    first = small.build()
    assert first.read == ["book/index", "book/quotes", "notebooks/01_first"]
    assert first.warnings == ""
    assert "first run" in small.page("notebooks/01_first")
    assert "2.50" in small.page("book/quotes")
    assert "first run" not in (small.root / "html/_sources/notebooks/01_first.ipynb.txt").read_text()

    assert small.build().read == []

    small.show("second run")
    assert small.build().read == ["notebooks/01_first"]
    assert "second run" in small.page("notebooks/01_first")

    small.measure(2.75)
    assert small.build().read == ["book/quotes"]
    assert "2.75" in small.page("book/quotes")


def test_a_notebook_that_was_not_run_is_a_warning(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.claims")
    (small.root / "build/laptop/executed/01_first.ipynb").unlink()
    assert "notebooks/01_first was not executed" in small.build().warnings


def test_a_quote_of_nothing_is_a_warning_at_its_line(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.claims")
    small.write("book/quotes.md", "# Quotes\n\nIt is {claim}`a.unknown`.\n")
    warnings = small.build().warnings
    assert "quotes.md:3" in warnings
    assert "no claim 'a.unknown'" in warnings
    assert "??" in small.page("book/quotes")


def test_the_table_of_claims_has_one_row_for_each(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.claims")
    small.write("book/quotes.md", "# Quotes\n\n```{claims-table}\n:part: I\n```\n")
    assert small.build().warnings == ""
    page = small.page("book/quotes")
    assert page.count("<tr") == 1 + len(CLAIMS)
    for verdict in ("not reproduced", "not measured yet"):
        assert f">{verdict}<" in page
    assert 'href="../notebooks/01_first.html"' in page
    assert "09_later.html" not in page


def test_an_unknown_part_is_a_warning(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.claims")
    small.write("book/quotes.md", "# Quotes\n\n```{claims-table}\n:part: V\n```\n")
    assert "there is no part 'V'" in small.build().warnings


def test_a_status_table_without_results_is_a_warning(book: Callable[..., Book]) -> None:
    small = book("_ext.executed", "_ext.status")
    (small.root / "build/laptop/results/01_first.json").unlink()
    small.write("book/quotes.md", "# Status\n\n```{run-status}\n```\n")
    assert "no results in" in small.build().warnings


# --- buttons -----------------------------------------------------------------------------------------------------

THEME_OPTIONS = {
    "repository_branch": "main",
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
}


def test_without_an_address_every_button_is_off() -> None:
    config = SimpleNamespace(html_theme_options={"repository_url": "", **THEME_OPTIONS})
    switch_buttons(None, config)
    assert "launch_buttons" not in config.html_theme_options
    assert not any(value for name, value in config.html_theme_options.items() if name.startswith("use_"))


def test_buttons_lead_to_the_committed_files(book: Callable[..., Book]) -> None:
    options = {"repository_url": "https://github.com/someone/somebook", **THEME_OPTIONS}
    small = book(
        "sphinx_book_theme",
        "_ext.repository",
        html_theme="sphinx_book_theme",
        html_theme_options=options,
        html_sourcelink_suffix="",
    )
    small.write("book/quotes.md", "# Quotes\n")
    small.build()
    page = small.page("notebooks/01_first")
    base = "https://github.com/someone/somebook"
    assert (
        'href="https://colab.research.google.com/github/someone/somebook/blob/main/notebooks/01_first.ipynb"'
        in page
    )
    assert f'href="{base}/edit/main/notebooks/01_first.py"' in page
    assert f'href="{base}"' in page
    assert f'href="{base}/issues/new' in page
    assert f'href="{base}/edit/main/book/quotes.md"' in small.page("book/quotes")
