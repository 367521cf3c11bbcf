"""Docstrings are written for people: |z| is an absolute value, not a substitution of reStructuredText."""

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL_OR_BAR = re.compile(r"(``.+?``|`[^`]+`)|\|", re.DOTALL)


def keep_bars(app: Sphinx, what: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    """Escape every bar outside backticks."""
    lines[:] = LITERAL_OR_BAR.sub(lambda found: found[1] or r"\|", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> dict:
    """Register the extension, before napoleon rewrites the docstrings."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", keep_bars, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
