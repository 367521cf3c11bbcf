"""Pages of the site in headless Chromium: no errors, mathematics typeset, nothing wider than the window."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = [
    "book/intro",
    "book/theory/boundary_leverage",
    "book/theory/dual_intervention",
    "book/theory/compensation",
    "book/ledger",
    "book/status",
    "book/api/boundary",
    "book/api/pruning",
    "notebooks/01_dice_and_boundaries",
    "notebooks/02_boundary_leverage",
    "notebooks/03_dual_intervention",
    "notebooks/04_medcore_cascade",
    "notebooks/05_head_fragility",
    "notebooks/14_compensated_pruning",
]
# What reaches beyond the window's right edge and cannot be reached by scrolling a box of its own.
CUT_OFF = """() => {
  const width = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > width) found.push("the page scrolls sideways");
  for (const element of document.querySelectorAll(".bd-article-container *")) {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right <= width + 1 || element.closest("mjx-assistive-mml")) continue;
    let parent = element.parentElement;
    while (parent && !(["auto", "scroll"].includes(getComputedStyle(parent).overflowX)
                       && parent.getBoundingClientRect().right <= width + 1)) parent = parent.parentElement;
    if (!parent) found.push(element.tagName + "." + element.className + ": " + element.textContent.slice(0, 40));
  }
  return found.slice(0, 5);
}"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_and_report_no_error(
    browser: "playwright.Browser", site: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(f"not loaded: {request.url}"))
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_function("!window.MathJax || (window.MathJax.startup && MathJax.startup.promise)")
        page.evaluate("window.MathJax && MathJax.startup.promise")
        problems += [f"{name} at {width} px: {what}" for what in page.evaluate(CUT_OFF)]
        problems += [f"{name}: formula not understood"] * page.locator("mjx-merror").count()
        problems += [f"{name}: formula left as TeX"] * page.locator(".math:not(:has(mjx-container))").count()
    page.close()
    assert problems == []


def test_mathematics_is_typeset(browser: "playwright.Browser", site: Path) -> None:
    page = browser.new_page()
    page.goto((site / "book/theory/boundary_leverage.html").as_uri())
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() > 10
    page.close()


def test_figures_keep_their_colours_in_the_dark(browser: "playwright.Browser", site: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((site / "notebooks/01_dice_and_boundaries.html").as_uri())
    figure = page.locator("div.cell_output img").first
    style = figure.evaluate(
        "e => { const s = getComputedStyle(e); return [s.filter, s.backgroundColor, s.padding] }"
    )
    assert style == ["none", "rgb(255, 255, 255)", "0px"]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read(browser: "playwright.Browser", site: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto((site / "book/ledger.html").as_uri())
    colours = page.locator(".verdict").evaluate_all(
        "all => all.map(e => { const s = getComputedStyle(e); return [s.color, s.backgroundColor] })"
    )
    assert colours
    for ink, ground in {tuple(pair) for pair in colours}:
        assert contrast(ink, ground) >= 4.5, (ink, ground)
    page.close()


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two CSS colours `rgb(r, g, b)`, as the Web Content Accessibility Guidelines define it."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
