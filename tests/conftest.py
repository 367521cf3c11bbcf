"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of small real data sets that are not part of the repository; skips when it is absent."""
    folder = Path(os.environ.get("MEDLIB_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set MEDLIB_TEST_DATA to the folder that holds it")
    return folder
