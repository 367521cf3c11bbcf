"""The summaries of the API pages list every public name, and nothing else."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["boundary", "data", "models", "pruning"])
def test_the_summary_lists_what_the_package_exports(package: str) -> None:
    page = (ROOT / "book" / "api" / f"{package}.md").read_text(encoding="utf-8")
    summary = re.search(r"\.\. autosummary::\n   :nosignatures:\n\n((?:   \w+\n)+)", page).group(1).split()
    assert sorted(summary) == sorted(importlib.import_module(f"medlib.{package}").__all__)
