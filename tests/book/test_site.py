"""The rendered site: complete, without dead links, and asking no other host for anything."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from _ext.executed import presentable

from tests.book.pages import Page, pages_of
from tests.book.runner import ROOT


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return pages_of(site)


def toc_files() -> list[str]:
    """Every document of `_toc.yml`, in order."""

    def walk(entry: dict) -> list[str]:
        own = [entry[key] for key in ("root", "file") if key in entry]
        return own + [
            name for key in ("parts", "chapters", "sections") for e in entry.get(key, []) for name in walk(e)
        ]

    return walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))


def test_every_document_of_the_contents_has_a_page(site: Path, pages: dict[Path, Page]) -> None:
    assert [name for name in toc_files() if site / f"{name}.html" not in pages] == []
    assert site / "index.html" in pages


def test_every_notebook_is_in_the_contents() -> None:
    notebooks = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.py")}
    assert notebooks == {name for name in toc_files() if name.startswith("notebooks/")}


def test_links_images_and_anchors_resolve(site: Path, pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for target in {*page.links, *page.loads}:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not place.is_file() or (anchor and place in pages and anchor not in pages[place].anchors):
                dead.append(f"{path.relative_to(site)} → {target}")
    assert dead == []


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    loaded = [f"{p.name}: {t}" for p, page in pages.items() for t in page.loads if urlsplit(t).netloc]
    scripted = [
        f"{p.name}: {s[:200]}" for p, page in pages.items() for s in page.scripts if "//" in s and "http" in s
    ]
    styled = [
        f"{path.name}: {found}"
        for path in site.rglob("*.css")
        for found in re.findall(
            r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+", path.read_text(encoding="utf-8")
        )
    ]
    assert loaded + scripted + styled == []


def test_site_is_small(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 20e6


def test_mathjax_is_small_and_complete(site: Path) -> None:
    files = [path for path in (site / "_static" / "mathjax").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert {"tex-mml-chtml.js", "MathJax_Main-Regular.woff"} <= {path.name for path in files}


def test_notebook_pages_show_their_last_run(site: Path) -> None:
    for path in (site / "notebooks").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "cell_output" in text, path.name
        assert text.count("Parameters of this run") in (1, 2), (
            path.name
        )  # one fold, with its two titles at most
        assert "find_spec" not in text, f"{path.name} shows the install cell"


def test_downloads_are_the_committed_notebooks(site: Path) -> None:
    twins = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert twins
    for twin in twins:
        assert (site / "_sources" / "notebooks" / twin.name).read_bytes() == twin.read_bytes()


def test_no_notebook_of_the_site_printed_a_warning(site: Path) -> None:
    for path in sorted((site.parents[1] / "executed").glob("*.ipynb")):
        shown = presentable(json.loads(path.read_text(encoding="utf-8")))
        printed = [o["text"] for cell in shown["cells"] for o in cell.get("outputs", []) if o.get("name") == "stderr"]
        assert printed == [], path.name


def test_repository_buttons_follow_the_one_setting(pages: dict[Path, Page]) -> None:
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    for sign in (
        "colab.research.google.com/github",
        "source-repository-button",
        "source-edit-button",
        "issues/new",
    ):
        assert (sign in text) == bool(address), sign


def test_ledger_page_gives_every_claim_one_verdict(site: Path) -> None:
    claims = yaml.safe_load((ROOT / "book" / "claims.yml").read_text(encoding="utf-8"))
    table = (site / "book" / "ledger.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr[^>]*>\s*<td><p><span class=\"verdict verdict-([a-z-]+)\"", table)
    assert len(rows) == len(claims)
    for name in claims:
        assert table.count(f">{name}<") >= 1, name


def test_status_page_lists_every_notebook_with_seconds_and_memory(site: Path) -> None:
    text = (site / "book" / "status.html").read_text(encoding="utf-8")
    for twin in (ROOT / "notebooks").glob("*.ipynb"):
        assert twin.stem in text
    assert re.search(r"<p>\d+\.\d GB</p>", text)
