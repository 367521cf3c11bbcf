"""Which files of medlib a script needs, found by reading its import statements (nothing is run).

The runner uses it to re-run exactly the notebooks that a change of the library touches; the tests use it to hold the
import directions.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "medlib"


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; `from a import b` gives both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def library_files(*scripts: Path | str) -> list[str]:
    """Every file of medlib that the scripts import, directly or through others, relative to the repository root.

    Data files that lie in an imported package count too, and so do scripts that are themselves part of medlib.
    """
    waiting = [ROOT / script for script in scripts]
    found: set[Path] = {path for path in waiting if path.is_relative_to(ROOT / PACKAGE)}
    while waiting:
        for name in imported_names(waiting.pop()):
            fresh = set(_files_of(name)) - found
            found |= fresh
            waiting += [path for path in fresh if path.suffix == ".py"]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if node.level == 0:
        return node.module
    package = path.resolve().relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _files_of(name: str) -> Iterator[Path]:
    """The files that `import name` reads: the module, and the packages above it with their data files."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return
    for depth in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:depth])
        if place.with_suffix(".py").is_file():
            yield place.with_suffix(".py")
        elif (place / "__init__.py").is_file():
            yield place / "__init__.py"
            yield from _data_files(place)


def _data_files(package: Path) -> Iterator[Path]:
    for path in package.iterdir():
        if path.is_file() and path.suffix not in {".py", ".pyc"} and not path.name.startswith("."):
            yield path
