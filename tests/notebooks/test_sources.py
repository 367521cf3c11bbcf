"""House rules of the notebooks' percent sources."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
FIGURE = re.compile(r"^(?:\w+ = )?(?:\w+\.)?plot_\w+\(", re.MULTILINE)
pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(source: Path) -> list[nbformat.NotebookNode]:
    return jupytext.read(source).cells


def code(source: Path) -> ast.Module:
    """All code cells as one module."""
    return ast.parse("\n".join(cell.source for cell in cells(source) if cell.cell_type == "code"))


def imported(source: Path) -> set[str]:
    """Top-level packages that are imported anywhere."""
    names = set()
    for node in ast.walk(code(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def draws_a_figure(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and FIGURE.search(cell.source) is not None


def test_the_name_says_the_order(source: Path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", source.stem)


def test_at_most_200_lines_of_code(source: Path):
    lines = [line for cell in cells(source) if cell.cell_type == "code" for line in cell.source.splitlines()]
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 200


def test_at_most_two_definitions(source: Path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert sum(isinstance(node, kinds) for node in code(source).body) <= 2


def test_it_begins_with_a_title_and_ends_in_short(source: Path):
    first, last = cells(source)[0], cells(source)[-1]
    assert first.cell_type == "markdown" and re.match(r"# \S", first.source)
    assert last.cell_type == "markdown" and "**In short.**" in last.source


def test_one_title(source: Path):
    titles = [line for c in cells(source) if c.cell_type == "markdown" for line in re.findall(r"^# .*", c.source, re.M)]
    assert len(titles) == 1


def test_every_figure_has_a_caption(source: Path):
    pages = cells(source)
    figures = [position for position, cell in enumerate(pages) if draws_a_figure(cell)]
    assert figures, "a page of this book shows something"
    for position in figures:
        caption = pages[position + 1] if position + 1 < len(pages) else None
        followed = caption is not None and caption.cell_type == "markdown"
        assert followed and re.match(r"\*[^*\s]", caption.source), f"no caption below: {pages[position].source[-80:]}"
        assert re.match(r"\*[^*]+\*", caption.source), f"the caption does not end: {caption.source[:80]}"


def test_one_figure_a_cell(source: Path):
    for cell in cells(source):
        if cell.cell_type == "code":
            assert len(FIGURE.findall(cell.source)) <= 1, cell.source


def test_one_parameters_cell_with_profile_and_seed_before_all_other_code(source: Path):
    code_cells = [cell for cell in cells(source) if cell.cell_type == "code"]
    assert ["parameters" in cell.metadata.get("tags", []) for cell in code_cells] == [True] + [False] * (
        len(code_cells) - 1
    )
    values: dict[str, object] = {}
    exec(code_cells[0].source, {}, values)
    assert values["profile"] == "laptop" and values["seed"] == 0
    assert set(values) <= {"profile", "seed", "polyps", "checkpoint", "reference"}
    assert all(value == "" for name, value in values.items() if name not in ("profile", "seed"))


def test_it_starts_its_run_under_its_own_name_and_shows_its_verdicts(source: Path):
    text = source.read_text(encoding="utf-8")
    assert f'start("{source.stem}", globals())' in text
    assert re.search(r"^run\.verdicts\(\)$", text, re.MULTILINE)


def test_random_numbers_come_from_generators_of_the_run(source: Path):
    text = source.read_text(encoding="utf-8")
    assert not re.search(r"np\.random\.(?!Generator\b)\w+|torch\.manual_seed|^import random", text, re.MULTILINE)


def test_figures_come_from_medlib_plotting(source: Path):
    assert not imported(source) & {"matplotlib", "seaborn", "plotly"}


def test_every_name_it_imports_is_used(source: Path):
    tree = code(source)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    aliases = [a for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names]
    assert [a.name for a in aliases if (a.asname or a.name).split(".")[0] not in used] == []
