"""What is committed: no outputs, no stale twins, no large files, nothing that only one machine understands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medlib.pairing import stale_twins
from tools.imports import ROOT

# Where a reader may be sent; anything else, such as a package host, is a mistake or belongs on this list.
HOSTS = {
    "arxiv.org", "colab.research.google.com", "creativecommons.org", "dl.fbaipublicfiles.com", "doi.org", "example.org",
    "github.com", "jupyterbook.org", "www.w3.org", "zenodo.org",
}
ADDRESS = re.compile(r"https?://([\w.-]+\w)")
INDEX_OPTION = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host")
# Written apart, so that this file does not find itself.
PLACES = ["/" + place + "/" for place in ("work", "root", "tmp", "opt", "home", "Users")]
MACHINE_PATH = re.compile(r"(?<![\w.~}/\-])(?:" + "|".join(PLACES) + r")[\w.]")


def tracked() -> list[Path]:
    """Files that are committed or about to be."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path != Path(__file__).resolve()]


def text_lines() -> list[tuple[Path, int, str]]:
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [(path.relative_to(ROOT), number, line) for number, line in enumerate(lines, 1)]
    return found


def test_addresses_lead_to_known_hosts() -> None:
    found = [
        f"{path}:{number}: {host}"
        for path, number, line in text_lines()
        for host in ADDRESS.findall(line)
        if host not in HOSTS
    ]
    assert found == []


def test_no_package_index_is_chosen() -> None:
    assert [f"{path}:{number}: {line[:120]}" for path, number, line in text_lines() if INDEX_OPTION.search(line)] == []


def test_no_path_of_a_machine_is_named() -> None:
    named = [f"{path}:{number}: {line[:120]}" for path, number, line in text_lines() if MACHINE_PATH.search(line)]
    assert named == []


def test_no_large_file_is_committed() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 1_500_000] == []


def test_committed_notebooks_have_no_outputs() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path.name


def test_every_notebook_twin_is_up_to_date() -> None:
    assert stale_twins(ROOT) == [], "run `make notebooks`"
