"""Tables made of docutils nodes, with links to notebooks, for the directives that show results."""

from collections.abc import Sequence

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.environment import BuildEnvironment

Cell = str | Sequence[nodes.Node]


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]], css_class: str) -> nodes.table:
    """A table with one header row.

    Args:
        header: the column titles.
        rows: cells, each a plain text or block nodes.
        css_class: a class for the style sheet.
    """
    group = nodes.tgroup("", cols=len(header))
    group.extend(nodes.colspec(colwidth=1) for _ in header)
    group += nodes.thead("", _row(header))
    group += nodes.tbody("", *(_row(row) for row in rows))
    return nodes.table("", group, classes=[css_class])


def _row(cells: Sequence[Cell]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *_blocks(cell)) for cell in cells))


def _blocks(cell: Cell) -> Sequence[nodes.Node]:
    return [nodes.paragraph(cell, cell)] if isinstance(cell, str) else cell


def notebook_link(env: BuildEnvironment, name: str) -> nodes.Node:
    """A link to a notebook's page under the notebook's name, or the plain name while it is not in the book."""
    docname = f"notebooks/{name}"
    label = nodes.inline(name, name, classes=["notebook-name"])
    if docname not in env.found_docs:
        return label
    target = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{docname}", "refdoc": env.docname}
    return pending_xref("", label, **target, refexplicit=True, refwarn=True)
