"""A small site that asks no other host for anything: MathJax comes from its package, and thebe is left out."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from sphinx.application import Sphinx

SCRIPT = "tex-mml-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put the one script and its fonts under `_static/mathjax`."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    with as_file(files("mathjax") / "static" / "mathjax" / "es5") as source:
        (target / FONTS).mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / SCRIPT, target)
        for font in (source / FONTS).glob("*.woff"):
            shutil.copy2(font, target / FONTS)


def drop_source_maps(app: Sphinx, error: Exception | None) -> None:
    """Leave out the theme's maps for debuggers, a third of what it brings."""
    for path in (Path(app.outdir) / "_static").rglob("*.map"):
        path.unlink()


def leave_out_thebe(app: Sphinx) -> None:
    """Undo what Jupyter Book always loads for live code: a script of another host, and a stranger's repository."""
    for event in ("env-before-read-docs", "doctree-resolved"):
        listeners = app.events.listeners[event]
        listeners[:] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]


def setup(app: Sphinx) -> dict:
    """Register the extension; `mathjax_path` in `_config.yml` names the copied script."""
    app.connect("builder-inited", leave_out_thebe)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", drop_source_maps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
