"""Reading rendered pages: their links, anchors and what they load."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LOADING = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("object", "data"),
}
LOADING_RELATIONS = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "modulepreload",
    "icon",
    "shortcut icon",
}


@dataclass
class Page(HTMLParser):
    """One page: `links` lead elsewhere, `loads` are fetched to show it, `anchors` can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_script = False
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_script = tag == "script"
        self.anchors.update(values[name] for name in ("id", "name") if values.get(name))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in LOADING_RELATIONS:
            self.loads.append(values["href"])
        self.loads += [value for name, value in attrs if (tag, name) in LOADING and value]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)


def pages_of(site: Path) -> dict[Path, Page]:
    """Every page of a site by its path; the theme's template fragments are none."""
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
