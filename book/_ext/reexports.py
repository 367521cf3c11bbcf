"""Let `medlib.boundary.metrics.Scores` lead to `medlib.boundary.Scores`, the name under which the book documents it."""

from docutils.nodes import Element, reference
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def find_under_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> reference | None:
    """Look for a name that its package re-exports, one package up at a time."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("medlib."):
        return None
    domain = env.domains["py"]
    *modules, name = node["reftarget"].split(".")
    for depth in range(len(modules) - 1, 0, -1):
        target = ".".join([*modules[:depth], name])
        if target in domain.objects:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], target, node, content
            )
    return None


def setup(app: Sphinx) -> dict:
    """Register the extension."""
    app.connect("missing-reference", find_under_package)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
