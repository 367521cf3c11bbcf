"""Where things live: the checkout, when there is one, and the cache."""

import os
from pathlib import Path


def repository_root() -> Path | None:
    """The checkout this package is imported from, or None when it was installed from a wheel."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "book" / "claims.yml").is_file() else None


def claims_file() -> Path:
    """`book/claims.yml` of the checkout, or the copy that travels in the wheel."""
    root = repository_root()
    return root / "book" / "claims.yml" if root else Path(__file__).resolve().parent / "claims.yml"


def cache_folder() -> Path:
    """The folder of trained artefacts: $MEDLIB_CACHE, else build/cache of the checkout, else ~/.cache/medlib."""
    if chosen := os.environ.get("MEDLIB_CACHE"):
        return Path(chosen).expanduser()
    root = repository_root()
    return root / "build" / "cache" if root else Path.home() / ".cache" / "medlib"
