"""Calling the runner as `make book` does, on this checkout or on a copy of it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, profile: str = "smoke") -> list[str]:
    """The Snakemake command; `arguments` are targets and further options."""
    settings = ["--workflow-profile", "tools/snakemake", "--config", f"profile={profile}"]
    return [sys.executable, "-m", "snakemake", *arguments, *settings]


def run(checkout: Path, *arguments: str, profile: str = "smoke") -> subprocess.CompletedProcess:
    """Run a checkout with its own medlib; the output holds both streams."""
    return subprocess.run(
        command(*arguments, profile=profile),
        cwd=checkout,
        env=environment(checkout),
        text=True,
        timeout=600,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def environment(checkout: Path) -> dict[str, str]:
    """This process's environment, with the checkout's medlib before any installed one."""
    return os.environ | {"PYTHONPATH": str(checkout)}
