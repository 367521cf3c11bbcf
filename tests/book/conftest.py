"""One site for all tests of the book: the one named by $MEDLIB_SITE, else the smoke run's, built where it is stale."""

import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.book import runner
from tests.book.runner import ROOT

sys.path.insert(0, str(ROOT / "book"))  # the book's extensions are imported as `_ext`, as Jupyter Book does


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the rendered site."""
    if chosen := os.environ.get("MEDLIB_SITE"):
        return Path(chosen).resolve()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with FileLock(build / ".tests.lock"):
        smoke = runner.run(ROOT)
    if smoke.returncode != 0:
        pytest.fail(f"the smoke run failed:\n{smoke.stdout[-4000:]}", pytrace=False)
    return build / "smoke" / "site" / "html"
