"""Who may import whom, read from the sources."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.imports import ROOT, imported_names, library_files

# Imports go to the same layer or to a lower one.
LAYERS = [
    {"files", "paths", "intervals", "device"},
    {"profiles", "ledger", "store", "parameters", "run"},
    {"data"},
    {"models"},
    {"boundary", "pruning", "flows", "surgery"},
    {"plotting", "execute", "pairing"},
    {"cli", "__main__"},
]
THEMES = LAYERS[4]
THEME_MAY_IMPORT = {"pruning": {"boundary"}}
MODULES = sorted((ROOT / "medlib").rglob("*.py"))


def part_of(name: str) -> str | None:
    """The part of medlib that a dotted name belongs to."""
    parts = name.split(".")
    return parts[1] if parts[0] == "medlib" and len(parts) > 1 and parts[1] in set().union(*LAYERS) else None


def layer(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def imports_between_parts() -> Iterator[tuple[Path, str, str]]:
    for path in MODULES:
        relative = path.relative_to(ROOT / "medlib")
        own = relative.parts[0].removesuffix(".py")
        if own != "__init__":
            parts = {part_of(name) for name in imported_names(path)} - {None, own}
            yield from ((relative, own, part) for part in sorted(parts))


def test_every_part_of_the_library_has_a_layer() -> None:
    parts = {path.relative_to(ROOT / "medlib").parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert parts <= set().union(*LAYERS), "say in LAYERS where the new part belongs"


def test_imports_point_down() -> None:
    upward = [
        f"{path} imports medlib.{other}" for path, own, other in imports_between_parts() if layer(other) > layer(own)
    ]
    assert upward == []


def test_themes_do_not_import_each_other() -> None:
    allowed = THEME_MAY_IMPORT
    crossing = [
        f"{path} imports medlib.{other}"
        for path, own, other in imports_between_parts()
        if {own, other} <= THEMES and other not in allowed.get(own, set())
    ]
    assert crossing == []


def test_only_plotting_draws() -> None:
    drawing = {"matplotlib", "seaborn"}
    found = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if "plotting" not in path.parts and {name.split(".")[0] for name in imported_names(path)} & drawing
    ]
    assert found == []


def test_library_files_follows_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def late():\n    from medlib import ledger\n")
    found = library_files(script)
    assert {"medlib/__init__.py", "medlib/ledger.py", "medlib/files.py"} <= set(found)
    assert not any(name.startswith("medlib/boundary") for name in found)


def test_library_files_counts_the_data_of_a_package(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import medlib.profiles\n")
    assert "medlib/profiles/smoke.yaml" in library_files(script)


def test_relative_imports_are_understood() -> None:
    module = ROOT / "medlib" / "boundary" / "__init__.py"
    assert all(name.split(".")[0] in {"medlib", *sys.stdlib_module_names} or name for name in imported_names(module))
    assert "medlib/boundary/metrics.py" in library_files(module)


@pytest.mark.parametrize("script", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_every_notebook_uses_the_library(script: Path) -> None:
    assert "medlib/run.py" in library_files(script)
