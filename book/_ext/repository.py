"""Repository, edit, issue and Colab buttons, all from `repository: url:` of `_config.yml`; without it, none of them."""

from typing import Any

from docutils.nodes import document
from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")


def switch_buttons(app: Sphinx, config: Config) -> None:
    """Switch every button that needs the repository on or off together."""
    options = config.html_theme_options
    known = bool(options.get("repository_url"))
    options.update(dict.fromkeys(BUTTONS, known))
    if not known:
        options.pop("launch_buttons", None)


def edit_the_script(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Let a notebook's edit button open its .py twin, the only one of the two that is edited by hand."""
    if not pagename.startswith("notebooks/"):
        return
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                button["url"] = button["url"].removesuffix(".ipynb") + ".py"


def setup(app: Sphinx) -> dict:
    """Register the extension: before the theme reads its options, and after it has made its buttons."""
    app.connect("config-inited", switch_buttons, priority=100)
    app.connect("html-page-context", edit_the_script, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
